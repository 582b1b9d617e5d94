"""Makes extractive outputs in child processes: the source comes from users, and decides their time and memory."""

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace
from typing import Final

from smelt.processor.children.process import Child, ChildDied, Death
from smelt.processor.children.texts import Text, messages_of
from smelt.processor.errors import ChildKilled, ChildUnusable, SynthesisPermanentError
from smelt.processor.synthesis.prompts import joined, titles_of
from smelt.processor.synthesis.request import (
    EXTRACTION,
    NO_SPEECH,
    OnOutput,
    OnShare,
    SynthesisInput,
    SynthesisRequest,
    ignore_output,
)

logger = logging.getLogger(__name__)

EXTRACT_MODULE: Final = "smelt.processor.children.extract"
# Its limit of processor time is half of this.
_TIMEOUT_S: Final = 240.0


class Extractor:
    """Makes extractive outputs in a child, one at a time; one that is started ahead saves the time of its imports."""

    def __init__(self, module: str = EXTRACT_MODULE, timeout_s: float = _TIMEOUT_S) -> None:
        self._module = module
        self._timeout_s = timeout_s
        self._turn = asyncio.Lock()
        self._starting: asyncio.Task[Child] | None = None
        self._closed = False

    def prestart(self) -> None:
        """Start the child for the next output, unless it is there."""
        if not self._closed:
            self._start()

    async def extract(
        self, source: SynthesisInput, request: SynthesisRequest, on_output: OnOutput = ignore_output
    ) -> str:
        """Return the output for one source; `on_output` is called with that of each prompt.

        Raises:
            SynthesisPermanentError: Two processes have died of this source.
            ChildKilled: A process was killed, and not by this worker.
            ChildUnusable: No process can be started.
        """
        if not source.sentences:
            return NO_SPEECH
        text = EXTRACTION.dump_json((replace(source, saved_outputs={}), request)).decode()
        count = len(titles_of(request))
        # Without a prompt, the child responds with the transcript, and there is not any output.
        work = (text, max(1, count), on_output if count else ignore_output)
        try:
            return joined(request, await self._response(*work))
        except ChildDied as exc:
            logger.warning("trying once more: %s", exc)
        try:
            return joined(request, await self._response(*work))
        except ChildDied as exc:
            raise SynthesisPermanentError("synthesis_failed", str(exc)) from exc

    async def aclose(self) -> None:
        """End the child."""
        self._closed = True
        if self._starting is not None:
            self._starting.cancel()
            with suppress(asyncio.CancelledError, ChildDied, OSError):
                await (await self._starting).end()

    async def _response(self, text: str, count: int, on_output: OnOutput) -> list[str]:
        """Return the outputs; raise `ChildDied` if the process that makes them dies of the source."""
        async with self._turn:
            child = await self._child()
            child.stage = "working"
            try:
                return await self._exchange(child, text, count, on_output)
            except ChildDied as exc:
                match exc.death.fault:
                    case "unknown":
                        raise ChildKilled(str(exc)) from exc
                    case "machine":
                        raise ChildUnusable(str(exc)) from exc
                    case "work":
                        raise
            except BaseException:
                await child.end()
                raise
            finally:
                child.stage = "idle"

    async def _exchange(self, child: Child, text: str, count: int, on_output: OnOutput) -> list[str]:
        for message in messages_of(text):
            await child.send(message)
        outputs: list[str] = []
        for position in range(count):
            on_output(position, "", False)
            outputs.append(await self._receive(child))
            on_output(position, outputs[-1], True)
        return outputs

    async def _receive(self, child: Child) -> str:
        output = Text()
        while not output.is_complete:
            message = await child.receive(self._timeout_s)
            match message:
                case {"type": "died", "returncode": int(returncode)}:
                    raise ChildDied(Death(returncode=returncode, stage="working"))
            try:
                output.add(message)
            except ValueError as exc:
                await child.fail("protocol", str(exc))
        return output.text

    async def _child(self) -> Child:
        """Return a child that is alive; if the one that was started ahead is not, start another one."""
        problem: object = None
        for _ in range(2):
            try:
                child = await asyncio.shield(self._start())
            except (ChildDied, OSError) as exc:
                problem = exc
            else:
                if not child.dying.done():
                    return child
                problem = child.dying.result()
            self._starting = None
        raise ChildUnusable(f"no output can be made: {problem}")

    def _start(self) -> asyncio.Task[Child]:
        if self._starting is None:
            self._starting = asyncio.create_task(Child.start(self._module), name="start the child for outputs")
            # `_child` retrieves the error, or nobody does.
            self._starting.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._starting


class ExtractiveSynthesizer:
    """Selects and orders sentences of the source; deterministic, offline."""

    typical_s: Final = 0.3

    def __init__(self) -> None:
        self._extractor = Extractor()

    def prestart(self) -> None:
        """Start the process for the first output."""
        self._extractor.prestart()

    async def synthesize(
        self,
        source: SynthesisInput,
        request: SynthesisRequest,
        on_share: OnShare,
        on_output: OnOutput = ignore_output,
    ) -> str:
        """Return the output for one source."""
        content = await self._extractor.extract(source, request, on_output)
        on_share(1.0)
        return content

    async def aclose(self) -> None:
        """End all processes."""
        await self._extractor.aclose()

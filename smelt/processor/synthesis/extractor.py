"""Makes extractive outputs in children, one for each: the source comes from users, and goes through native code."""

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace
from typing import Final

from smelt.processor.children.process import Child, ChildDied
from smelt.processor.children.texts import Text, messages_of
from smelt.processor.errors import ChildKilled, ChildUnusable, SynthesisPermanentError
from smelt.processor.synthesis.request import EXTRACTION, NO_SPEECH, OnShare, SynthesisInput, SynthesisRequest

logger = logging.getLogger(__name__)

EXTRACT_MODULE: Final = "smelt.processor.children.extract"
# Its limit of processor time is half of this.
_TIMEOUT_S: Final = 240.0
# Threads reserve address space, and matrices of this size gain nothing from them.
_ENVIRONMENT: Final = {"MALLOC_ARENA_MAX": "2", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class Extractor:
    """Makes extractive outputs, each in a child; one that is started ahead saves the time of its imports."""

    def __init__(self, module: str = EXTRACT_MODULE, timeout_s: float = _TIMEOUT_S) -> None:
        self._module = module
        self._timeout_s = timeout_s
        self._ahead: asyncio.Task[Child] | None = None
        self._closed = False

    def prestart(self) -> None:
        """Start the child for the next output."""
        if self._ahead is None and not self._closed:
            self._ahead = asyncio.create_task(self._start(), name="start an extractor")
            # `_take` retrieves the error, or nobody does.
            self._ahead.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def extract(self, source: SynthesisInput, request: SynthesisRequest) -> str:
        """Return the output for one source.

        Raises:
            SynthesisPermanentError: Two children have died of this source.
            ChildKilled: A child was killed, and not by this worker.
            ChildUnusable: No child can be started.
        """
        if not source.sentences:
            return NO_SPEECH
        text = EXTRACTION.dump_json((replace(source, saved_outputs={}), request)).decode()
        try:
            return await self._response(text)
        except ChildDied as exc:
            logger.warning("trying once more: %s", exc)
        try:
            return await self._response(text)
        except ChildDied as exc:
            raise SynthesisPermanentError("synthesis_failed", str(exc)) from exc

    async def aclose(self) -> None:
        """End the child that was started ahead."""
        self._closed = True
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.cancel()
            with suppress(asyncio.CancelledError, ChildDied, OSError):
                await (await ahead).end()

    async def _response(self, text: str) -> str:
        """Return the output of one child; raise `ChildDied` if it dies of the source."""
        child = await self._take()
        try:
            return await self._exchange(child, text)
        except ChildDied as exc:
            match exc.death.fault:
                case "unknown":
                    raise ChildKilled(str(exc)) from exc
                case "machine":
                    raise ChildUnusable(str(exc)) from exc
                case "work":
                    raise
        finally:
            await child.end()

    async def _exchange(self, child: Child, text: str) -> str:
        child.stage = "working"
        for message in messages_of(text):
            await child.send(message)
        output = Text()
        while not output.is_complete:
            message = await child.receive(self._timeout_s)
            try:
                output.add(message)
            except ValueError as exc:
                await child.fail("protocol", str(exc))
        return output.text

    async def _take(self) -> Child:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            with suppress(ChildDied, OSError):
                child = await ahead
                if not child.dying.done():
                    return child
        try:
            return await self._start()
        except (ChildDied, OSError) as exc:
            raise ChildUnusable(f"no output can be made: {exc}") from exc

    async def _start(self) -> Child:
        return await Child.start(self._module, environment=_ENVIRONMENT)


class ExtractiveSynthesizer:
    """Selects and orders sentences of the source; deterministic, offline."""

    typical_s: Final = 0.3

    def __init__(self) -> None:
        self._extractor = Extractor()

    def prestart(self) -> None:
        """Start the process for the first output."""
        self._extractor.prestart()

    async def synthesize(self, source: SynthesisInput, request: SynthesisRequest, on_share: OnShare) -> str:
        """Return the output for one source."""
        try:
            content = await self._extractor.extract(source, request)
        finally:
            self._extractor.prestart()
        on_share(1.0)
        return content

    async def aclose(self) -> None:
        """End all processes."""
        await self._extractor.aclose()

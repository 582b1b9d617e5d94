"""A model in a child process: loads it, and transcribes several recordings at a time, each in a lane."""

import asyncio
import itertools
import math
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NoReturn, TypeVar
from uuid import UUID

from pydantic import ValidationError

from smelt.contract.options import SmeltOptions
from smelt.errors import SettingsError
from smelt.processor.children.frames import Message
from smelt.processor.children.process import Child, ChildDied, Death, printable
from smelt.processor.errors import ModelError
from smelt.processor.media.recording import Recording
from smelt.processor.speech.checkpoint import Checkpoint
from smelt.processor.speech.languages import Language
from smelt.processor.speech.values import (
    JOB,
    LANGUAGE,
    LOADED_INFO,
    MODEL_OPTIONS,
    PASSAGE,
    Job,
    LoadedInfo,
    ModelOptions,
    Passage,
    SpeechOptions,
)

T = TypeVar("T")

NO_OPTIONS: Final = SmeltOptions()
MODEL_MODULE: Final = "smelt.processor.children.model"
# The download of a large model over a slow network.
_LOAD_TIMEOUT_S: Final = 24 * 3600.0
_MIN_RELOAD_S: Final = 1.0
# The variables of Hugging Face, CUDA, OpenMP, CTranslate2 and the allocator, and those for reaching the model hub.
_PREFIXES: Final = (
    *("HF_", "HUGGINGFACE_", "CUDA_", "NVIDIA_", "OMP_"),
    *("KMP_", "GOMP_", "MKL_", "OPENBLAS_", "CT2_", "MALLOC_"),
)
_NAMES: Final = frozenset(
    {
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "XDG_CACHE_HOME"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    }
)
# By default, glibc returns the large blocks of a window to the kernel, which clears their pages for the next window.
# Other C libraries ignore these variables.
_KEPT_MEMORY: Final = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**30)}

Item = Language | Passage | ModelError | None
"""A response of a lane; None at its end."""


class StepGate:
    """Lets the steps of several lanes be computed at a time, and one that has to be alone without any other."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._count = 0
        self._empty = asyncio.Event()
        self._empty.set()

    @asynccontextmanager
    async def step(self, *, alone: bool) -> AsyncIterator[None]:
        """Wait until a step may be computed, first come, first served, and compute it in the block."""
        async with self._turn:
            if alone:
                await self._empty.wait()
                yield
                return
            self._count += 1
            self._empty.clear()
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._empty.set()


class _Lane:
    """A transcription in the child."""

    def __init__(self, number: int, smelt_id: UUID | None, *, is_alone: bool) -> None:
        self.number = number
        self.smelt_id = smelt_id
        self.is_alone = is_alone
        self.is_waiting = False
        self.responses: asyncio.Queue[Message | Death] = asyncio.Queue()
        self.stopping: asyncio.Task[None] | None = None


class LoadedModel:
    """A model in a child. `options` are those of the next transcription; they may be replaced.

    Once the child has died, `suspects` are the smelts whose windows it computed at that time.
    """

    def __init__(self, child: Child, info: LoadedInfo, options: SpeechOptions, load_s: float) -> None:
        self.info = info
        self.options = options
        self.load_s = load_s
        self.suspects: frozenset[UUID | None] = frozenset()
        self._child = child
        self._lanes: dict[int, _Lane] = {}
        self._numbers = itertools.count(1)
        self._computing: set[_Lane] = set()
        self._gate = StepGate()
        self._sending = asyncio.Lock()
        # Before all others, which ask for the suspects.
        child.dying.add_done_callback(self._on_death)
        self._receiving = asyncio.create_task(self._receive(), name=f"messages of child {child.pid}")

    @classmethod
    async def load(cls, model: ModelOptions, options: SpeechOptions) -> "LoadedModel":
        """Start a child and load the model; raise `SettingsError` if that fails, `ChildDied` if the child dies."""
        started_s = time.monotonic()
        child = await Child.start(MODEL_MODULE, environment=model_environment())
        try:
            await child.send({"type": "load", "model": MODEL_OPTIONS.dump_python(model)})
            info = await _loaded_info(child)
        except BaseException:
            await child.end()
            raise
        return cls(child, info, options, time.monotonic() - started_s)

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._child.pid

    @property
    def is_alive(self) -> bool:
        """True until the child has ended."""
        return not self._child.dying.done()

    @property
    def dying(self) -> "asyncio.Task[Death]":
        """The task that is done once the child has ended."""
        return self._child.dying

    async def transcribe(
        self,
        recording: Recording,
        start: Checkpoint,
        *,
        max_step_s: Callable[[LoadedInfo, SpeechOptions], float],
        smelt_id: UUID | None = None,
        is_alone: bool = False,
        main_language: str | None = None,
        requested: SmeltOptions = NO_OPTIONS,
    ) -> AsyncGenerator[Language | Passage, None]:
        """Transcribe a recording from a checkpoint, by the options of its smelt: yield its language, then its passages.

        With `is_alone`, no other window is computed at the same time as one of this recording. Raises `ModelError` if
        the model fails, and `ChildDied` if the child dies, or is silent for `max_step_s`. If this generator is closed
        early, it returns at once; the child completes its window.
        """
        job = Job(
            sample_count=recording.sample_count,
            options=self.options.for_smelt(requested),
            channels=recording.channels,
            main_language=main_language,
            start=start,
            is_alone=is_alone,
        )
        await self.wait_stopped()
        lane = _Lane(next(self._numbers), smelt_id, is_alone=is_alone)
        self._lanes[lane.number] = lane
        step: asyncio.Task[Item] = asyncio.create_task(self._begin(lane, job, recording))
        ended = False
        try:
            await asyncio.shield(step)
            while not ended:
                step = asyncio.create_task(self._step(lane, max_step_s(self.info, job.options)))
                item = await asyncio.shield(step)
                ended = item is None or isinstance(item, ModelError)
                if isinstance(item, ModelError):
                    raise item
                if item is not None:
                    yield item
        finally:
            if step.done() and (ended or not self.is_alive):
                del self._lanes[lane.number]
            else:
                lane.stopping = asyncio.create_task(self._stop(lane, step), name="stop transcribing")
            self._set_stage()

    @property
    def is_ready(self) -> bool:
        """True if the child lives, and a lane is free at once."""
        return self.is_alive and len(self._lanes) < self.info.lanes

    async def wait_stopped(self) -> None:
        """Wait until a lane has left a transcription that was closed early, or the child was killed for it."""
        while len(self._lanes) >= self.info.lanes and self._stopping:
            await asyncio.wait(self._stopping, return_when=asyncio.FIRST_COMPLETED)

    async def fail(self, smelt_id: UUID, error: ModelError) -> NoReturn:
        """Kill the child for a `ModelError` of a smelt, and raise `ChildDied`, as if it had died of its work."""
        self.suspects = self.suspects or frozenset({smelt_id})
        self._child.stage = "working"
        await self._child.fail("error", str(error))

    async def end(self) -> None:
        """Kill the child, also one that works, and wait until its memory is free."""
        await self._child.end()
        await asyncio.wait({self._receiving, *self._stopping})

    @property
    def _stopping(self) -> list[asyncio.Task[None]]:
        return [lane.stopping for lane in self._lanes.values() if lane.stopping is not None]

    async def _begin(self, lane: _Lane, job: Job, recording: Recording) -> None:
        descriptor = os.open(recording.path, os.O_RDONLY)
        try:
            message = {"type": "transcribe", "lane": lane.number, "job": JOB.dump_python(job, mode="json")}
            await self._send(message, [descriptor])
        finally:
            os.close(descriptor)

    async def _step(self, lane: _Lane, timeout_s: float) -> Item:
        """Request and receive one response. From the request on, this task is not cancelled."""
        lane.is_waiting = True
        async with self._gate.step(alone=lane.is_alone):
            lane.is_waiting = False
            self._computing.add(lane)
            self._set_stage()
            try:
                await self._send({"type": "next", "lane": lane.number})
                return await self._item(lane, timeout_s)
            finally:
                self._computing.remove(lane)

    async def _send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        async with self._sending:
            await self._child.send(message, descriptors)

    async def _item(self, lane: _Lane, timeout_s: float) -> Item:
        try:
            async with asyncio.timeout(timeout_s):
                response = await lane.responses.get()
        except TimeoutError:
            self.suspects = frozenset({lane.smelt_id})
            await self._child.fail("timeout", f"no message for {timeout_s:g} s")
        if isinstance(response, Death):
            raise ChildDied(response)
        try:
            return _parsed_item(response)
        except ValidationError as exc:
            self.suspects = frozenset({lane.smelt_id})
            await self._child.fail("protocol", f"an invalid message: {exc.error_count()} errors")

    async def _receive(self) -> None:
        """Pass the messages of the child on to their lanes, then its death to all of them."""
        try:
            while True:
                message = await self._child.receive(math.inf)
                number = message.get("lane")
                if not isinstance(number, int) or number not in self._lanes:
                    await self._child.fail("protocol", f"an unexpected message: {message.get('type')}")
                self._lanes[number].responses.put_nowait(message)
        except ChildDied as exc:
            for lane in self._lanes.values():
                lane.responses.put_nowait(exc.death)

    async def _stop(self, lane: _Lane, step: "asyncio.Task[Item]") -> None:
        """Leave a transcription; kill the child if that takes longer than a load, and nothing else is computed."""
        if lane.is_waiting:
            step.cancel()
        while not (await asyncio.wait({step}, timeout=max(_MIN_RELOAD_S, self.load_s)))[0]:
            if self._computing <= {lane}:
                await self._child.end()
        if not step.cancelled():
            step.exception()
        with suppress(ChildDied):
            await self._send({"type": "stop", "lane": lane.number})
        del self._lanes[lane.number]

    def _set_stage(self) -> None:
        # A child that is killed for its work stays at work, also if the last lane is left meanwhile.
        if self.is_alive and not self.suspects:
            has_work = any(lane.stopping is None for lane in self._lanes.values())
            self._child.stage = "working" if has_work else "idle"

    def _on_death(self, _: object) -> None:
        # Between two steps, a lane may still have used the memory that was missing.
        lanes = self._computing or self._lanes.values()
        self.suspects = self.suspects or frozenset(lane.smelt_id for lane in lanes)


def _parsed_item(response: Message) -> Item:
    match response.get("type"):
        case "language":
            return LANGUAGE.validate_python(response.get("language"))
        case "error":
            return ModelError(printable(str(response.get("text"))))
        case "end":
            return None
    return PASSAGE.validate_python(response.get("passage"))


async def _loaded_info(child: Child) -> LoadedInfo:
    response = await child.receive(_LOAD_TIMEOUT_S)
    if response.get("type") == "failed":
        raise SettingsError(printable(str(response.get("text"))))
    return await _parsed(child, LOADED_INFO.validate_python, response.get("info"))


async def _parsed(child: Child, parse: Callable[[Any], T], value: object) -> T:
    try:
        return parse(value)
    except ValidationError as exc:
        await child.fail("protocol", f"an invalid message: {exc.error_count()} errors")


def model_environment() -> dict[str, str]:
    """Return the variables of this process that the libraries of the model need, and those that keep freed memory."""
    return _KEPT_MEMORY | {k: v for k, v in os.environ.items() if k.startswith(_PREFIXES) or k.upper() in _NAMES}

"""A model in a child process: loads it, and transcribes one recording at a time."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

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
_MODULE: Final = "smelt.processor.children.model"
# The download of a large model over a slow network.
_LOAD_TIMEOUT_S: Final = 24 * 3600.0
_MIN_RELOAD_S: Final = 1.0
_NEXT: Final[Message] = {"type": "next"}
_STOP: Final[Message] = {"type": "stop"}
# The variables of Hugging Face, CUDA, OpenMP and CTranslate2, and those for reaching the model hub.
_PREFIXES: Final = ("HF_", "HUGGINGFACE_", "CUDA_", "NVIDIA_", "OMP_", "KMP_", "GOMP_", "MKL_", "OPENBLAS_", "CT2_")
_NAMES: Final = frozenset(
    {
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "XDG_CACHE_HOME"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    }
)


class LoadedModel:
    """A model in a child. `options` are those of the next transcription; they may be replaced."""

    def __init__(self, child: Child, info: LoadedInfo, options: SpeechOptions, load_s: float) -> None:
        self.info = info
        self.options = options
        self.load_s = load_s
        self._child = child
        self._stopping: asyncio.Task[None] | None = None

    @classmethod
    async def load(cls, model: ModelOptions, options: SpeechOptions) -> "LoadedModel":
        """Start a child and load the model; raise `SettingsError` if that fails, `ChildDied` if the child dies."""
        started_s = time.monotonic()
        child = await Child.start(_MODULE, environment=_environment())
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
        main_language: str | None = None,
        requested: SmeltOptions = NO_OPTIONS,
    ) -> AsyncGenerator[Language | Passage, None]:
        """Transcribe a recording from a checkpoint, by the options of its smelt: yield its language, then its passages.

        Raises `ModelError` if the model fails, and `ChildDied` if the child dies, or is silent for `max_step_s`. If
        this generator is closed early, it returns at once; the child has the time of a reload to complete its window.
        """
        job = Job(
            sample_count=recording.sample_count,
            options=self.options.for_smelt(requested),
            channels=recording.channels,
            main_language=main_language,
            start=start,
        )
        await self.wait_stopped()
        ended, sending = False, True
        try:
            await self._send_job(job, recording)
            # It begins with the first request.
            self._child.stage = "working"
            while not ended:
                sending = True
                await self._child.send(_NEXT)
                sending = False
                item = await self._receive_item(max_step_s(self.info, job.options))
                ended = item is None or isinstance(item, ModelError)
                if isinstance(item, ModelError):
                    raise item
                if item is not None:
                    yield item
        finally:
            if self.is_alive:
                self._child.stage = "idle"
                if not ended:
                    self._stopping = asyncio.create_task(self._stop(is_readable=not sending), name="stop transcribing")

    @property
    def is_ready(self) -> bool:
        """True if the child lives and does not complete a window that was cancelled."""
        return self.is_alive and (self._stopping is None or self._stopping.done())

    async def wait_stopped(self) -> None:
        """Wait until the child has left a transcription that was closed early, or was killed for it."""
        if self._stopping is not None:
            await asyncio.shield(self._stopping)

    async def end(self) -> None:
        """Kill the child, also one that works, and wait until its memory is free."""
        await self._child.end()
        if self._stopping is not None:
            await asyncio.wait({self._stopping})

    async def _send_job(self, job: Job, recording: Recording) -> None:
        descriptor = os.open(recording.path, os.O_RDONLY)
        try:
            await self._child.send({"type": "transcribe", "job": JOB.dump_python(job, mode="json")}, [descriptor])
        finally:
            os.close(descriptor)

    async def _receive_item(self, timeout_s: float) -> Language | Passage | ModelError | None:
        response = await self._child.receive(timeout_s)
        match response.get("type"):
            case "language":
                return await _parsed(self._child, LANGUAGE.validate_python, response.get("language"))
            case "passage":
                return await _parsed(self._child, PASSAGE.validate_python, response.get("passage"))
            case "error":
                return ModelError(printable(str(response.get("text"))))
            case "end":
                return None
        return await self._child.fail("protocol", f"an unexpected message: {response.get('type')}")

    async def _stop(self, *, is_readable: bool) -> None:
        if not is_readable:  # A part of a message was sent.
            await self._child.end()
            return
        loop = asyncio.get_running_loop()
        end_s = loop.time() + max(_MIN_RELOAD_S, self.load_s)
        with suppress(ChildDied):
            await self._child.send(_STOP)
            while (await self._child.receive(max(0.0, end_s - loop.time()))).get("type") != "stopped":
                pass


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


def _environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k.startswith(_PREFIXES) or k.upper() in _NAMES}

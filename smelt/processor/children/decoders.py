"""Probes and decodes files in children, one file at a time each; the worker's side, asyncio.

Children are started ahead, from the first file on, so that a file does not wait for their imports. Each file is
processed in a copy of one. A child that dies of its file is replaced once; if the second dies as well, the file has
failed.
"""

import asyncio
import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Annotated, Any, Final, Literal, assert_never

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from smelt.contract.vocabulary import ErrorCode
from smelt.pickling import PicklableError
from smelt.processor.children.process import START_TIMEOUT_S, Child, ChildDied, printable
from smelt.processor.errors import ChildKilled, ChildUnusable, FileError
from smelt.processor.media.recording import Recording
from smelt.processor.media.values import Decoded, MediaLimits, Probe

logger = logging.getLogger(__name__)

OnShare = Callable[[float], object]

DECODER_MODULE: Final = "smelt.processor.children.decode"
# A child sends its progress every second. Probing is silent, and reads at most all packets of a file.
_PROGRESS_TIMEOUT_S: Final = 120.0
_DONE_TIMEOUT_S: Final = 10.0
_ENVIRONMENT: Final = {
    # Each arena and thread reserves address space.
    "MALLOC_ARENA_MAX": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


class _Response(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Probed(_Response):
    type: Literal["probed"]
    probe: Probe


class _Progress(_Response):
    type: Literal["progress"]
    share: float = Field(ge=0, le=1)


class _Decoded(_Response):
    type: Literal["decoded"]
    decoded: Decoded


class _Rejected(_Response):
    type: Literal["rejected"]
    code: ErrorCode
    detail: str = Field(max_length=500)
    sentence: str | None = Field(max_length=500)


class _Limit(_Response):
    type: Literal["limit"]
    detail: str = Field(max_length=500)


class _SystemError(_Response):
    type: Literal["system_error"]
    errno: int


class _Error(_Response):
    type: Literal["error"]
    detail: str = Field(max_length=500)


_RESPONSE: Final[TypeAdapter[_Probed | _Progress | _Decoded | _Rejected | _Limit | _SystemError | _Error]] = (
    TypeAdapter(
        Annotated[
            _Probed | _Progress | _Decoded | _Rejected | _Limit | _SystemError | _Error, Field(discriminator="type")
        ]
    )
)


class DecoderFailed(PicklableError):
    """A decoder has raised an unexpected error; its traceback is in the log."""


class _Ended(PicklableError):
    """A child has died or exceeded a limit; `final` is the error if the next one does so as well."""

    def __init__(self, final: FileError | ChildUnusable) -> None:
        super().__init__(str(final))
        self.final = final


class Decoders:
    """The children that decode, at most `count`."""

    def __init__(
        self,
        count: int = 2,
        *,
        module: str = DECODER_MODULE,
        environment: Mapping[str, str] | None = None,
        start_timeout_s: float = START_TIMEOUT_S,
        progress_timeout_s: float = _PROGRESS_TIMEOUT_S,
    ) -> None:
        self._count = count
        self._module = module
        self._environment = _ENVIRONMENT | dict(environment or {})
        self._start_timeout_s = start_timeout_s
        self._progress_timeout_s = progress_timeout_s
        self._slots = asyncio.Semaphore(count)
        self._taken_count = 0
        self._ahead: deque[asyncio.Task[Child]] = deque()
        self._closed = False

    def prestart(self) -> None:
        """Start children ahead."""
        while not self._closed and self._taken_count + len(self._ahead) < self._count:
            self._add(self._start())

    def open(self, source: Path, limits: MediaLimits) -> "Decoding":
        """Return the decoding of a file, which has no child yet."""
        return Decoding(source, limits, self)

    async def aclose(self) -> None:
        """End all children that have no file."""
        self._closed = True
        ahead, self._ahead = list(self._ahead), deque()
        # A task that is cancelled before it runs would not end its child.
        await asyncio.sleep(0)
        for starting in ahead:
            starting.cancel()
        if ahead:
            await asyncio.wait(ahead)
        for starting in ahead:
            if not starting.cancelled() and starting.exception() is None:
                await starting.result().end()

    async def take(self) -> Child:
        """Return a child without a file, which the caller gives back.

        Raises `ChildUnusable` if none can be started here.
        """
        await self._slots.acquire()
        self._taken_count += 1
        try:
            child = await self._ready_child()
        except BaseException:
            self._free_slot()
            raise
        self.prestart()
        return child

    async def give_back(self, child: Child) -> None:
        """Use a child that is idle for another file, and end any other one."""
        try:
            if child.stage == "idle" and not self._closed:
                self._add(self._prepared(child))
            else:
                await child.end()
        finally:
            self._free_slot()

    @property
    def progress_timeout_s(self) -> float:
        """The time without a message after which a child is killed."""
        return self._progress_timeout_s

    def _free_slot(self) -> None:
        self._taken_count -= 1
        self._slots.release()

    def _add(self, starting: Coroutine[Any, Any, Child]) -> None:
        task = asyncio.create_task(starting, name="start a decoder")
        # `_ready_child` retrieves the error, or nobody does.
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
        self._ahead.append(task)

    async def _ready_child(self) -> Child:
        while self._ahead:
            starting = self._ahead.popleft()
            try:
                child = await asyncio.shield(starting)
            except asyncio.CancelledError:
                self._ahead.appendleft(starting)
                raise
            except (ChildDied, OSError) as exc:
                logger.warning("a decoder did not start: %s", exc)
                continue
            if not child.dying.done():
                return child
        try:
            return await self._start()
        except (ChildDied, OSError) as exc:
            raise ChildUnusable(f"no decoder can be started: {exc}") from exc

    async def _prepared(self, child: Child) -> Child:
        """Return the child once it is done with its file, or another one if it ends with it."""
        try:
            await child.send({"type": "done"})
            await child.wait_ready(_DONE_TIMEOUT_S)
        except ChildDied:
            return await self._start()
        except BaseException:
            await child.end()
            raise
        return child

    async def _start(self) -> Child:
        return await Child.start(self._module, environment=self._environment, timeout_s=self._start_timeout_s)


class Decoding:
    """One file, to be probed and then decoded, by one child if nothing happens to it.

    The child is kept from `probe` to `decode`: call `release` if the file is not decoded next. Any error but that of a
    rejected file, and a cancellation, ends it at once.
    """

    def __init__(self, source: Path, limits: MediaLimits, decoders: Decoders) -> None:
        self._source = source
        self._limits = limits
        self._decoders = decoders
        self._child: Child | None = None

    async def probe(self) -> Probe:
        """Inspect the file; raise `FileError` if it is rejected."""
        response = await self._run({"type": "probe"}, None, lambda _: None)
        assert isinstance(response, _Probed)
        return response.probe

    async def decode(self, target: Path, probed: Probe, on_share: OnShare, *, is_separate: bool = False) -> Recording:
        """Decode the file to `target`, mono or with separate channels; raise `FileError` if it is rejected."""
        request = {"type": "decode", "probe": asdict(probed), "is_separate": is_separate}
        response = await self._run(request, target, on_share)
        await self.release()
        assert isinstance(response, _Decoded)
        decoded = response.decoded
        return Recording(target, decoded.sample_count, decoded.report, decoded.channels)

    async def release(self) -> None:
        """Give the child back, if there is one."""
        if self._child is not None:
            child, self._child = self._child, None
            await self._decoders.give_back(child)

    async def _run(self, request: dict[str, Any], target: Path | None, on_share: OnShare) -> _Probed | _Decoded:
        """Run a request in a child; if that dies, run it once more in another one."""
        try:
            try:
                return await self._respond(request, target, on_share)
            except _Ended as exc:
                logger.warning("%s: trying once more: %s", self._source.name, exc)
                await self.release()
            try:
                return await self._respond(request, target, on_share)
            except _Ended as exc:
                raise exc.final from exc
        except BaseException:
            await self.release()
            raise

    async def _respond(self, request: dict[str, Any], target: Path | None, on_share: OnShare) -> _Probed | _Decoded:
        if self._child is None:
            self._child = await self._decoders.take()
        child = self._child
        child.stage = "working"
        more = {"name": self._source.name, "limits": asdict(self._limits)}
        try:
            with _opened(self._source, target) as descriptors:
                await child.send(request | more, descriptors)
                response = await self._last_response(child, on_share)
                if isinstance(response, _Decoded if target is None else _Probed):
                    await child.fail("protocol", response.type)
                if isinstance(response, _Decoded) and os.fstat(descriptors[1]).st_size != _size_bytes(response):
                    await child.fail("protocol", f"{response.decoded.sample_count} samples")
        except ChildDied as exc:
            match exc.death.fault:
                case "unknown":
                    raise ChildKilled(str(exc)) from exc
                case "machine":
                    raise _Ended(ChildUnusable(str(exc))) from exc
                case "work":
                    raise _Ended(FileError("decoding_failed", str(exc))) from exc
        child.stage = "idle"
        return response

    async def _last_response(self, child: Child, on_share: OnShare) -> _Probed | _Decoded:
        """Pass on the progress until the request is done; raise the error of the child."""
        while True:
            message = await child.receive(self._decoders.progress_timeout_s)
            try:
                response = _RESPONSE.validate_python(message)
            except ValidationError as exc:
                await child.fail("protocol", f"{exc.error_count()} fields")
            match response:
                case _Progress():
                    on_share(response.share)
                case _Probed() | _Decoded():
                    return response
                case _Rejected():
                    child.stage = "idle"
                    sentence = None if response.sentence is None else printable(response.sentence)
                    raise FileError(response.code, printable(response.detail), sentence)
                case _Limit():
                    raise _Ended(FileError("decoding_failed", printable(response.detail)))
                case _SystemError():
                    raise OSError(response.errno, os.strerror(response.errno))
                case _Error():
                    raise DecoderFailed(printable(response.detail))
                case _:
                    assert_never(response)


def _size_bytes(response: _Decoded) -> int:
    return response.decoded.sample_count * 2 * max(1, len(response.decoded.channels))


@contextlib.contextmanager
def _opened(source: Path, target: Path | None) -> Iterator[Sequence[int]]:
    with contextlib.ExitStack() as files:
        opened: list[IO[bytes]] = [files.enter_context(source.open("rb"))]
        if target is not None:
            opened.append(files.enter_context(target.open("wb")))
        yield [file.fileno() for file in opened]

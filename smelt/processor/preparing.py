"""Validating and decoding: from an object in Storage to a recording on disk."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from smelt.backend.retries import pause
from smelt.contract.vocabulary import ErrorCode
from smelt.errors import NotFound, Unavailable
from smelt.processor.errors import FileError
from smelt.processor.logs import SmeltLog
from smelt.processor.media.decode import bytes_needed, decode
from smelt.processor.media.probe import probe
from smelt.processor.media.recording import Recording
from smelt.processor.services import WorkerServices
from smelt.processor.state import FileWork, SmeltState

logger = logging.getLogger(__name__)

# An outage of Storage is over by then, or it is of this object alone.
_TIMEOUT_S: Final = 180.0
_RETRY_INTERVAL_S: Final = 2.0
# How finely a decoding thread tells of its progress; each telling wakes the event loop.
_SHARE_STEP: Final = 0.01
# The rest of validating is the look at what was downloaded.
_DOWNLOAD_SHARE: Final = 0.9
_GONE: Final[ErrorCode] = "internal_error"
# Nobody asked for what is there now, and what was asked for is no more.
_REPLACED: Final[ErrorCode] = "corrupted_file"


async def validate(file: FileWork, state: SmeltState, tools: WorkerServices, folder: Path) -> None:
    """Download a file and look at it; raise `FileError` with what is wrong with it."""
    size_bytes = file.claimed.size_bytes
    if size_bytes > state.limits.max_file_bytes:
        raise FileError("file_too_large", f"{size_bytes} bytes, {state.limits.max_file_bytes} are allowed")
    await asyncio.to_thread(tools.workspace.require_space, size_bytes)
    # The suffix helps to tell formats apart; nothing else of a name that somebody chose comes near the disk.
    file.source = folder / f"{file.claimed.position}{_suffix(file.claimed.filename)}"
    with tools.workspace.filling():
        await _patiently(lambda: _download(file, state, tools), SmeltLog(logger, state.claim))
    file.probed = await asyncio.to_thread(probe, file.source, state.limits)
    state.advance(file, 1.0)


async def decode_file(file: FileWork, state: SmeltState, tools: WorkerServices, folder: Path) -> None:
    """Decode a validated file; its length is known from then on."""
    assert file.source is not None
    assert file.probed is not None
    await asyncio.to_thread(tools.workspace.require_space, bytes_needed(file.probed, state.limits))
    loop = asyncio.get_running_loop()
    wanted = threading.Event()
    on_decoded = _teller(lambda share: loop.call_soon_threadsafe(state.advance, file, share), wanted)
    target = folder / f"{file.claimed.position}.pcm"
    try:
        with tools.workspace.filling():
            file.recording = await loop.run_in_executor(
                tools.threads.decoding, decode, file.source, target, file.probed, state.limits, on_decoded
            )
    finally:
        wanted.set()
    await asyncio.to_thread(file.source.unlink)
    _note_length(file, file.recording)
    state.advance(file, 1.0)


async def _patiently(call: Callable[[], Awaitable[None]], log: SmeltLog) -> None:
    """Wait here for Storage to answer, which costs no try; raises its `Unavailable` after some minutes."""
    loop = asyncio.get_running_loop()
    give_up_s = loop.time() + _TIMEOUT_S
    while True:
        try:
            return await call()
        except Unavailable as exc:
            if loop.time() >= give_up_s:
                raise
            log.warning("waiting for Storage: %s", exc)
        await pause(_RETRY_INTERVAL_S)


async def _download(file: FileWork, state: SmeltState, tools: WorkerServices) -> None:
    assert file.source is not None
    if file.claimed.object_path is None:
        raise FileError(_GONE, "the file has no object")
    size_bytes = max(1, file.claimed.size_bytes)
    try:
        await tools.project.audio.download(
            file.claimed.object_path,
            file.source,
            on_bytes=lambda count: state.advance(file, _DOWNLOAD_SHARE * count / size_bytes),
        )
        # After the download: whatever was put in its place, before or meanwhile, has another version.
        version = await tools.project.audio.version(file.claimed.object_path)
    except NotFound as exc:
        raise FileError(_GONE, "the object is gone") from exc
    if file.claimed.object_version not in (None, version):
        raise FileError(_REPLACED, f"version {file.claimed.object_version} was submitted, {version} is there")


def _teller(tell: Callable[[float], object], ended: threading.Event) -> Callable[[float], bool]:
    told = 0.0

    def on_decoded(share: float) -> bool:
        nonlocal told
        if share >= told + _SHARE_STEP and not ended.is_set():
            told = share
            tell(share)
        return not ended.is_set()

    return on_decoded


def _note_length(file: FileWork, recording: Recording) -> None:
    file.duration_s = round(recording.duration_s, 3)


def _suffix(filename: str) -> str:
    suffix = Path(filename).suffix.lower()
    return suffix if suffix[1:].isalnum() and len(suffix) <= 8 else ""

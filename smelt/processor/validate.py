"""Stage `validating`: download a file and probe it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from smelt.backend.retries import pause
from smelt.contract.vocabulary import ErrorCode
from smelt.errors import NotFound, Unavailable
from smelt.processor.errors import FileError
from smelt.processor.logs import SmeltLog
from smelt.processor.services import WorkerServices
from smelt.processor.state import FileWork, SmeltState

logger = logging.getLogger(__name__)

# An outage of Storage is over by then, or it affects this object alone.
_STORAGE_TIMEOUT_S: Final = 180.0
_RETRY_INTERVAL_S: Final = 2.0
# The share of the download; probing is the rest.
_DOWNLOAD_SHARE: Final = 0.9
_GONE: Final[ErrorCode] = "internal_error"
# The object was replaced after submission.
_REPLACED: Final[ErrorCode] = "corrupted_file"


async def validate(
    file: FileWork, state: SmeltState, services: WorkerServices, folder: Path, *, keep_child: bool
) -> None:
    """Download a file and probe it; raise `FileError` if it is rejected.

    With `keep_child`, the child that probed it is kept to decode it.
    """
    size_bytes = file.claimed.size_bytes
    if size_bytes > state.limits.max_file_bytes:
        raise FileError("file_too_large", f"{size_bytes} bytes, {state.limits.max_file_bytes} are allowed")
    await asyncio.to_thread(services.workspace.require_space, size_bytes)
    # Children import their modules during the download.
    services.decoders.prestart()
    # The suffix helps to detect the format. The rest of a filename chosen by a user is never used as a path.
    file.source = folder / f"{file.claimed.position}{_suffix(file.claimed.filename)}"
    with services.workspace.map_disk_full():
        await _retry_storage(lambda: _download(file, state, services), SmeltLog(logger, state.claim))
    file.decoding = services.decoders.open(file.source, state.limits)
    file.probed = await file.decoding.probe()
    if not keep_child:
        await file.decoding.release()
    state.advance(file, 1.0)


async def _retry_storage(call: Callable[[], Awaitable[None]], log: SmeltLog) -> None:
    """Retry while Storage does not respond, which costs no attempt; raises its `Unavailable` after three minutes."""
    loop = asyncio.get_running_loop()
    give_up_s = loop.time() + _STORAGE_TIMEOUT_S
    while True:
        try:
            return await call()
        except Unavailable as exc:
            if loop.time() >= give_up_s:
                raise
            log.warning("download failed, retrying: %s", exc)
        await pause(_RETRY_INTERVAL_S)


async def _download(file: FileWork, state: SmeltState, services: WorkerServices) -> None:
    assert file.source is not None
    if file.claimed.object_path is None:
        raise FileError(_GONE, "the file has no object")
    size_bytes = max(1, file.claimed.size_bytes)
    try:
        await services.project.audio.download(
            file.claimed.object_path,
            file.source,
            on_bytes=lambda count: state.advance(file, _DOWNLOAD_SHARE * count / size_bytes),
        )
        # Check the version after the download, to detect an object that was replaced before or during it.
        version = await services.project.audio.version(file.claimed.object_path)
    except NotFound as exc:
        raise FileError(_GONE, "the object was removed") from exc
    if file.claimed.object_version not in (None, version):
        raise FileError(_REPLACED, f"version {file.claimed.object_version} was submitted, Storage has {version}")


def _suffix(filename: str) -> str:
    suffix = Path(filename).suffix.lower()
    return suffix if suffix[1:].isalnum() and len(suffix) <= 8 else ""

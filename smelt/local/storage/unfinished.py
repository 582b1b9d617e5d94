"""Unfinished resumable uploads on disk: `<version>.json` describes an upload, `<version>.bytes` holds what has arrived.

The offset of an upload is the size of its second file, so an upload continues after a restart of the server where it
was. The description of a finished upload stays until the upload expires: a client may ask whether it has arrived.
"""

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from smelt.local.storage import tus
from smelt.local.storage.files import READ_BYTES, WRITE_BYTES, rejecting_full_disk

logger = logging.getLogger(__name__)

EXPIRY_S: Final = 24 * 3600
SWEEP_INTERVAL_S: Final = 3600
MAX_PER_OBJECT: Final = 16
MAX_PER_CREATOR: Final = 1000
"""More than smelt's limits allow to a user: 100 open smelts of 5 files."""

_SERVICE: Final = ("service_role", None)


@dataclass(frozen=True, kw_only=True)
class ResumableUpload:
    """The description of a resumable upload.

    Attributes:
        version: The version of the object, a UUID; it identifies the upload.
        length: Its length in bytes; None until a client declares it.
        creator: Role and subject of the caller that created it.
        metadata: The pairs of its `Upload-Metadata`.
        created_at: Seconds since the epoch.
        is_finished: True once the object exists.
    """

    version: str
    bucket_id: str
    key: str
    length: int | None
    creator: tuple[str, str | None]
    metadata: dict[str, str | None]
    created_at: float
    is_finished: bool = False

    @property
    def expires_at(self) -> float:
        """The time from which the upload no longer exists, in seconds since the epoch."""
        return self.created_at + EXPIRY_S


_STATE: Final = TypeAdapter(ResumableUpload)


@dataclass
class _Turn:
    """The order of the requests for one upload."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    requests: int = 0


class PartialFile:
    """The bytes of an unfinished upload, open for writing at its end."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._pending = bytearray()
        self.first_byte = self.size_bytes = os.fstat(self._file.fileno()).st_size

    async def write(self, chunk: bytes) -> None:
        """Buffer more bytes; they are written in large pieces in a thread."""
        self.size_bytes += len(chunk)
        self._pending += chunk
        if len(self._pending) >= WRITE_BYTES:
            await asyncio.shield(asyncio.to_thread(self._flush))

    def save(self) -> None:
        """Write all bytes to disk."""
        self._flush()
        # A client must not continue after bytes that a power failure takes away.
        os.fsync(self._file.fileno())

    async def undo(self) -> None:
        """Remove the bytes that were written since the file was opened."""
        self._pending = bytearray()
        await asyncio.shield(asyncio.to_thread(self._file.truncate, self.first_byte))
        self.size_bytes = self.first_byte

    def close(self) -> None:
        """Write the buffered bytes and close the file."""
        try:
            self._flush()
        finally:
            self._file.close()

    def _flush(self) -> None:
        pending, self._pending = memoryview(self._pending), bytearray()
        while pending:
            pending = pending[self._file.write(pending) :]


class UnfinishedUploads:
    """The folder of unfinished uploads; `clock` returns seconds since the epoch."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock
        self._turns: dict[str, _Turn] = {}
        self._unfinished: dict[str, ResumableUpload] = {}

    def restore(self, versions: set[str]) -> None:
        """Repair what a crash left; `versions` are those of all objects."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for upload in self._expired():
            self._remove(upload.version)
        described = {upload.version for upload in self._all()}
        for path in self._folder.iterdir():
            if path.suffix == ".tmp" or path.stem not in described:
                path.unlink()
        for upload in self._all():
            if not upload.is_finished:
                self._restore(upload, versions)
        self._unfinished = {upload.version: upload for upload in self._all() if not upload.is_finished}

    def _restore(self, upload: ResumableUpload, versions: set[str]) -> None:
        try:
            size_bytes = self.bytes_path(upload.version).stat().st_size
        except FileNotFoundError:
            # The bytes were moved to the object; its row may be missing.
            if upload.version in versions:
                self._save(replace(upload, is_finished=True))
            else:
                self._remove(upload.version)
            return
        if size_bytes and size_bytes == upload.length:
            # All bytes without an object: a client that reads this offset would send nothing more.
            os.truncate(self.bytes_path(upload.version), size_bytes - 1)

    async def sweep(self) -> int:
        """Remove the expired uploads without a request in progress, and return their number."""
        removed = 0
        for upload in await asyncio.to_thread(self._expired):
            if upload.version not in self._turns:
                async with self.exclusive(upload.version):
                    await self.remove(upload.version)
                removed += 1
        return removed

    @asynccontextmanager
    async def expiring(self) -> AsyncIterator[None]:
        """Remove expired uploads every hour until the block ends."""
        sweeping = asyncio.create_task(self._sweep_forever())
        try:
            yield
        finally:
            sweeping.cancel()
            await asyncio.gather(sweeping, return_exceptions=True)

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_INTERVAL_S)
            try:
                removed = await self.sweep()
            except OSError:
                logger.exception("removing expired uploads failed")
            else:
                if removed:
                    logger.info("removed %s expired uploads", removed)

    @asynccontextmanager
    async def exclusive(self, version: str) -> AsyncIterator[asyncio.Event]:
        """Wait for the turn of a request for an upload; the event is set when a newer request waits.

        The newest request wins: the older one may be that of a connection that no longer exists.
        """
        turn = self._turns.setdefault(version, _Turn())
        turn.requests += 1
        turn.stop.set()
        try:
            async with turn.lock:
                turn.stop = asyncio.Event()
                if turn.requests > 1:
                    turn.stop.set()
                yield turn.stop
        finally:
            turn.requests -= 1
            if not turn.requests:
                del self._turns[version]

    async def create(self, upload: ResumableUpload) -> None:
        """Store a new upload without bytes; raise `TusError` if its object or its creator has too many of them."""
        self._check_bounds(upload)
        self._unfinished[upload.version] = upload
        with rejecting_full_disk():
            await asyncio.to_thread(self._create, upload)

    async def find(self, version: str) -> ResumableUpload:
        """Return an upload; raise `TusError` if there is none or it has expired."""
        upload = await asyncio.to_thread(self._find, version)
        if upload is None:
            raise tus.upload_not_found()
        if self._has_expired(upload):
            raise tus.upload_expired()
        return upload

    async def save(self, upload: ResumableUpload) -> None:
        """Replace the description of an upload."""
        with rejecting_full_disk():
            await asyncio.to_thread(self._save, upload)

    async def finish(self, upload: ResumableUpload) -> ResumableUpload:
        """Save that the object of an upload exists, and return the new description.

        An error is only logged, as the object is stored: until the next start, the upload is not found any more.
        """
        finished = replace(upload, is_finished=True)
        try:
            await asyncio.to_thread(self._save, finished)
        except OSError:
            logger.warning("the finished upload %s could not be saved", upload.version, exc_info=True)
        self._unfinished.pop(upload.version, None)
        return finished

    async def remove(self, version: str) -> None:
        """Remove an upload and its bytes; the caller holds its turn."""
        await asyncio.to_thread(self._remove, version)
        self._unfinished.pop(version, None)

    async def terminate(self, version: str) -> None:
        """Stop the requests for an upload, and remove it unless it is finished."""
        async with self.exclusive(version):
            if version in self._unfinished:
                await self.remove(version)

    async def offset(self, upload: ResumableUpload) -> int:
        """Return the number of bytes that have arrived."""
        if upload.is_finished:
            return upload.length or 0
        return (await asyncio.to_thread(self.bytes_path(upload.version).stat)).st_size

    @asynccontextmanager
    async def open(self, version: str) -> AsyncIterator[PartialFile]:
        """Open the bytes of an upload for writing; they stay if the block raises, except if the disk is full."""
        with rejecting_full_disk():
            file = await asyncio.to_thread(PartialFile, self.bytes_path(version))
            try:
                yield file
            except OSError:
                await file.undo()
                raise
            finally:
                await asyncio.shield(asyncio.to_thread(file.close))

    async def md5(self, version: str) -> str:
        """Return the MD5 of the bytes of an upload in hexadecimal."""
        return await asyncio.to_thread(self._md5, version)

    def now(self) -> float:
        """Return the time in seconds since the epoch."""
        return self._clock()

    def bytes_path(self, version: str) -> Path:
        """Return the path of the bytes of an upload."""
        return self._folder / f"{version}.bytes"

    def _check_bounds(self, new: ResumableUpload) -> None:
        uploads = [upload for upload in self._unfinished.values() if not self._has_expired(upload)]
        if sum((upload.bucket_id, upload.key) == (new.bucket_id, new.key) for upload in uploads) >= MAX_PER_OBJECT:
            raise tus.too_many_uploads(MAX_PER_OBJECT, "object")
        # The service role uploads on behalf of all users.
        if new.creator != _SERVICE and sum(upload.creator == new.creator for upload in uploads) >= MAX_PER_CREATOR:
            raise tus.too_many_uploads(MAX_PER_CREATOR, "user")

    def _create(self, upload: ResumableUpload) -> None:
        self.bytes_path(upload.version).touch()
        self._save(upload)

    def _save(self, upload: ResumableUpload) -> None:
        path = self._folder / f"{upload.version}.json"
        path.with_suffix(".tmp").write_bytes(_STATE.dump_json(upload))
        path.with_suffix(".tmp").replace(path)

    def _find(self, version: str) -> ResumableUpload | None:
        upload = self._load(self._folder / f"{version}.json")
        # Without bytes, the object was made, but that could not be saved.
        is_lost = upload is not None and not upload.is_finished and not self.bytes_path(version).exists()
        return None if is_lost else upload

    def _load(self, path: Path) -> ResumableUpload | None:
        """Return the upload that a file describes; None if the file does not exist or is damaged."""
        try:
            return _STATE.validate_json(path.read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    def _all(self) -> list[ResumableUpload]:
        found = [self._load(path) for path in self._folder.glob("*.json")]
        return [upload for upload in found if upload is not None]

    def _expired(self) -> list[ResumableUpload]:
        return [upload for upload in self._all() if self._has_expired(upload)]

    def _has_expired(self, upload: ResumableUpload) -> bool:
        return self._clock() >= upload.expires_at

    def _remove(self, version: str) -> None:
        for path in self._folder.glob(f"{version}.*"):
            with suppress(FileNotFoundError):
                path.unlink()

    def _md5(self, version: str) -> str:
        digest = hashlib.md5(usedforsecurity=False)
        with self.bytes_path(version).open("rb") as stream:
            while chunk := stream.read(READ_BYTES):
                digest.update(chunk)
        return digest.hexdigest()

"""Stores the contents of objects as files `<bucket>/<hash of the key>/<version>` below one folder.

A file is written to a temporary path and renamed when it is complete, and a version is written only once. So a reader
sees a complete version or none. The next start removes the leftovers of a crash.
"""

import asyncio
import errno
import hashlib
import logging
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote
from uuid import uuid4

from smelt.local.storage import errors

logger = logging.getLogger(__name__)

WRITE_BYTES: Final = 512 * 1024
READ_BYTES: Final = 256 * 1024

_DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
# The folder of a bucket never starts with a dot.
_INCOMING: Final = ".incoming"


@contextmanager
def rejecting_full_disk() -> Iterator[None]:
    """Raise `StorageError` for an `OSError` in the block that reports a full disk or an exhausted quota."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _DISK_FULL:
            raise errors.disk_full() from exc
        raise


class IncomingFile:
    """A file that is being received; it is not visible before `FileStore.place`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._pending = bytearray()
        self._file = path.open("xb", buffering=0)

    async def write(self, chunk: bytes) -> None:
        """Buffer more bytes; they are written in large pieces in a thread."""
        self.size_bytes += len(chunk)
        self._pending += chunk
        if len(self._pending) >= WRITE_BYTES:
            await asyncio.to_thread(self._flush)

    async def finish(self) -> str:
        """Write all bytes to disk and return their MD5 in hexadecimal."""
        await asyncio.to_thread(self._flush_and_sync)
        return self._md5.hexdigest()

    def discard(self) -> None:
        """Close the file, and remove it unless it was placed."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def _flush(self) -> None:
        self._md5.update(self._pending)
        view = memoryview(self._pending)
        while view:
            view = view[self._file.write(view) :]
        self._pending = bytearray()

    def _flush_and_sync(self) -> None:
        self._flush()
        # A power failure must not leave a row with an incomplete file.
        os.fsync(self._file.fileno())


class FileStore:
    """The folder with the contents of objects."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / _INCOMING

    def prepare(self) -> None:
        """Create the folder, and remove the incomplete files of an earlier process."""
        shutil.rmtree(self._incoming, ignore_errors=True)
        self._incoming.mkdir(parents=True)

    def sweep(self, versions: set[str]) -> int:
        """Remove the files whose version has no row, and return their number.

        A crash leaves such files between placing a file and committing its row, or between removing a row and its file.
        """
        swept = 0
        for path in self._root.glob("[!.]*/*/*"):
            if path.name not in versions:
                swept += _unlink(path)
        return swept

    @asynccontextmanager
    async def receive(self) -> AsyncIterator[IncomingFile]:
        """Open a file for incoming bytes; it is removed unless it was placed when the block ends."""
        with rejecting_full_disk():
            incoming = await asyncio.to_thread(IncomingFile, self._incoming / str(uuid4()))
            try:
                yield incoming
            finally:
                await asyncio.shield(asyncio.to_thread(incoming.discard))

    async def place(self, source: Path, bucket_id: str, key: str, version: str) -> None:
        """Move a received file to the path of this version of the object."""
        with rejecting_full_disk():
            await asyncio.to_thread(_put, os.replace, source, self._path(bucket_id, key, version))

    async def link(self, source: tuple[str, str, str], target: tuple[str, str, str]) -> None:
        """Link the file of a (bucket, key, version) to another one; raise FileNotFoundError if it does not exist."""
        with rejecting_full_disk():
            await asyncio.to_thread(_put, os.link, self._path(*source), self._path(*target))

    async def remove(self, bucket_id: str, key: str, version: str) -> None:
        """Remove the file of a version that has no row, if it exists.

        An error is only logged: the request has committed its changes, and the next start removes such files.
        """
        await asyncio.to_thread(_unlink, self._path(bucket_id, key, version))

    async def open(self, bucket_id: str, key: str, version: str) -> "OpenFile":
        """Open a version for reading; raise FileNotFoundError if it does not exist."""
        return OpenFile(await asyncio.to_thread(os.open, self._path(bucket_id, key, version), os.O_RDONLY))

    def _path(self, bucket_id: str, key: str, version: str) -> Path:
        # Bucket names and keys must not be able to leave the folder: a bucket created in SQL can have any name.
        folder = quote(bucket_id, safe="").replace(".", "%2E")
        return self._root / folder / hashlib.sha256(key.encode()).hexdigest() / version


class OpenFile:
    """An open version of an object, which stays readable if it is removed meanwhile."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def read(self, first: int, length: int) -> AsyncIterator[bytes]:
        """Yield `length` bytes from `first` in chunks, and close the file."""
        try:
            while length > 0:
                chunk = await asyncio.to_thread(os.pread, self._descriptor, min(READ_BYTES, length), first)
                if not chunk:
                    return
                yield chunk
                first += len(chunk)
                length -= len(chunk)
        finally:
            self.close()

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    # If the client disconnects before the first byte, `read` never runs.
    __del__ = close


def _put(operation: Callable[[Path, Path], None], source: Path, target: Path) -> None:
    while True:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            operation(source, target)
        except FileNotFoundError:
            if not source.exists():
                raise
            # The folder was removed meanwhile, with the last other version of this key.
            continue
        return


def _unlink(path: Path) -> bool:
    """Remove a file; log an error and return False if that fails."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        logger.warning("the file %s could not be removed", path, exc_info=True)
        return False
    # The folder is not empty if another version exists.
    with suppress(OSError):
        path.parent.rmdir()
    return True

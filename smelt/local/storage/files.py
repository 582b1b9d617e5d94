"""The bytes of the objects, as files: `<bucket>/<hash of the key>/<version>` below one folder.

A file is written beside its place and renamed into it when it is whole, and no version is ever written twice: whoever
reads sees all of a version or nothing. What a crash leaves is swept at the next start.
"""

import asyncio
import errno
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote
from uuid import uuid4

from smelt.local.storage import errors

WRITE_BYTES: Final = 512 * 1024
READ_BYTES: Final = 256 * 1024
NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)

# A bucket's folder never begins with a dot.
_INCOMING: Final = ".incoming"


class IncomingFile:
    """A file that is being received; nobody sees it before it is placed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._pending = bytearray()
        self._file = path.open("xb", buffering=0)

    async def write(self, chunk: bytes) -> None:
        """Take more bytes; they reach the disk in large pieces, off the event loop."""
        self.size_bytes += len(chunk)
        self._pending += chunk
        if len(self._pending) >= WRITE_BYTES:
            await asyncio.to_thread(self._flush)

    async def finish(self) -> str:
        """Put all bytes on the disk; answer their MD5 in hexadecimal."""
        await asyncio.to_thread(self._flush_and_sync)
        return self._md5.hexdigest()

    def discard(self) -> None:
        """Close the file and remove it, unless it was placed."""
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
        # A power cut must not leave a row whose file is torn.
        os.fsync(self._file.fileno())


class FileStore:
    """The folder that holds the objects' bytes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / _INCOMING

    def prepare(self) -> None:
        """Make the folder, and remove what was being received when the last process died."""
        shutil.rmtree(self._incoming, ignore_errors=True)
        self._incoming.mkdir(parents=True)

    def sweep(self, versions: set[str]) -> int:
        """Remove the files of versions that no row knows; answer how many that were.

        There are some after a crash between placing a file and committing its row, or removing a row and its file.
        """
        swept = 0
        for path in self._root.glob("[!.]*/*/*"):
            if path.name not in versions:
                _unlink(path)
                swept += 1
        return swept

    @asynccontextmanager
    async def receive(self) -> AsyncIterator[IncomingFile]:
        """Open a file for incoming bytes; what was not placed when the block ends is removed."""
        incoming = await asyncio.to_thread(IncomingFile, self._incoming / str(uuid4()))
        try:
            yield incoming
        except OSError as exc:
            if exc.errno in NO_ROOM:
                raise errors.disk_full() from exc
            raise
        finally:
            await asyncio.shield(asyncio.to_thread(incoming.discard))

    async def place(self, incoming: IncomingFile, bucket_id: str, key: str, version: str) -> None:
        """Make a received file this version of the object."""
        await asyncio.to_thread(_put, os.replace, incoming.path, self._path(bucket_id, key, version))

    async def link(self, source: tuple[str, str, str], target: tuple[str, str, str]) -> None:
        """Make the bytes of one (bucket, key, version) those of another as well; raise FileNotFoundError if gone."""
        await asyncio.to_thread(_put, os.link, self._path(*source), self._path(*target))

    async def remove(self, bucket_id: str, key: str, version: str) -> None:
        """Remove the bytes of a version, if they are there."""
        await asyncio.to_thread(_unlink, self._path(bucket_id, key, version))

    async def open(self, bucket_id: str, key: str, version: str) -> "OpenFile":
        """Open a version for reading; raise FileNotFoundError if it is gone."""
        return OpenFile(await asyncio.to_thread(os.open, self._path(bucket_id, key, version), os.O_RDONLY))

    def _path(self, bucket_id: str, key: str, version: str) -> Path:
        # Neither a bucket's name nor a key decides where a file lies: a bucket made in SQL may be called anything.
        folder = quote(bucket_id, safe="").replace(".", "%2E")
        return self._root / folder / hashlib.sha256(key.encode()).hexdigest() / version


class OpenFile:
    """A version of an object that stays readable even when it is removed meanwhile."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def read(self, first: int, length: int) -> AsyncIterator[bytes]:
        """Answer `length` bytes from `first` in pieces, and close the file."""
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
        """Let go of the file; a second time does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    # An answer whose client left before the first byte never runs `read`.
    __del__ = close


def _put(operation: Callable[[Path, Path], None], source: Path, target: Path) -> None:
    while True:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            operation(source, target)
        except FileNotFoundError:
            if not source.exists():
                raise
            # Somebody removed the last other version of this key, and the folder with it.
            continue
        return


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)
    # Not empty: another version is there.
    with suppress(OSError):
        path.parent.rmdir()

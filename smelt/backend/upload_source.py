"""Recordings to upload: files on disk, bytes, file objects and async iterators.

Each can be read several times, since an upload is repeated after an outage; none is held in memory as a whole, except
bytes that the caller has there already.
"""

import asyncio
import hashlib
import inspect
import io
import os
import shutil
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from io import BytesIO
from os import PathLike
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Final

from smelt.errors import PermanentError

CHUNK_BYTES: Final = 1 << 18
MAX_SPOOLED_BYTES: Final = 1 << 20
"""Content that can be read only once is copied: up to this size into memory, a larger one to a temporary file."""

Content = bytes | bytearray | memoryview | IO[bytes] | AsyncIterable[bytes]
File = str | PathLike[str] | tuple[str, Content]
"""A path; or a filename with bytes, a file object that is open for reading bytes, or an async iterator of bytes."""

OnSent = Callable[[int], Awaitable[None]]


@dataclass(frozen=True)
class UploadSource:
    """A recording to upload: its name, its size in bytes, and a function that opens its content."""

    filename: str
    size_bytes: int
    open: Callable[[], AbstractContextManager[IO[bytes]]]

    async def chunks(
        self, on_sent: OnSent | None = None, *, first_byte: int = 0, end_byte: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the content from `first_byte` up to `end_byte` or its end.

        `on_sent` is called once a chunk has been consumed, with its position: the bytes sent so far.

        Raises:
            PermanentError: The content no longer has its size.
        """
        sent_bytes, end_byte = first_byte, self.size_bytes if end_byte is None else end_byte
        with await asyncio.to_thread(self.open) as stream:
            self._check(await asyncio.to_thread(_size_of, stream))
            await asyncio.to_thread(stream.seek, first_byte)
            while chunk := await asyncio.to_thread(stream.read, min(CHUNK_BYTES, end_byte - sent_bytes)):
                yield chunk
                sent_bytes += len(chunk)
                if on_sent is not None:
                    await on_sent(sent_bytes)
            self._check(self.size_bytes - end_byte + sent_bytes)

    def sha256(self) -> str:
        """Return the SHA-256 of the content in hexadecimal."""
        digest = hashlib.sha256()
        with self.open() as stream:
            stream.seek(0)
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
        return digest.hexdigest()

    def _check(self, size_bytes: int) -> None:
        if size_bytes != self.size_bytes:
            raise PermanentError(f"{self.filename} has changed since its size was announced; create a new smelt.")


def path_source(path: Path) -> UploadSource:
    """Return a file on disk as a source; raise `OSError` if it does not exist."""
    return UploadSource(path.name, path.stat().st_size, lambda: path.open("rb"))


@asynccontextmanager
async def open_sources(files: Sequence[File]) -> AsyncIterator[list[UploadSource]]:
    """Yield the sources of files; at the end, remove the copies of those that can be read only once.

    A file object with `seek` is read from its start, wherever its position is, and is not closed.

    Raises:
        TypeError: One of them is neither a path nor a filename with content, or a file object is passed twice.
        OSError: A path does not exist, or a copy can't be written.
    """
    opened = [id(file[1]) for file in files if isinstance(file, tuple) and len(file) == 2 and _is_file(file[1])]
    if len(set(opened)) < len(opened):
        raise TypeError("a file object is passed twice; it has one position, so pass its bytes, or open the file again")
    with ExitStack() as copies:
        yield [await _source(file, copies) for file in files]


async def _source(file: File, copies: ExitStack) -> UploadSource:
    match file:
        case str() | PathLike():
            return await asyncio.to_thread(path_source, Path(file))
        case (str() as filename, bytes() | bytearray() | memoryview() as content):
            stream: IO[bytes] = BytesIO(content)
        case (str() as filename, AsyncIterable() as parts):
            stream = copies.enter_context(_new_copy())
            async for part in parts:
                await asyncio.to_thread(stream.write, part)
        case (str() as filename, opened) if _is_file(opened):
            stream = opened if _is_seekable(opened) else copies.enter_context(_new_copy())
            if stream is not opened:
                await asyncio.to_thread(shutil.copyfileobj, opened, stream, CHUNK_BYTES)
        case _:
            raise TypeError(
                "a file must be a path, or a tuple of a filename and its content: bytes, a file object that is open "
                "for reading bytes, or an async iterator of bytes"
            )
    return UploadSource(filename, await asyncio.to_thread(_size_of, stream), lambda: nullcontext(stream))


def _is_file(content: object) -> bool:
    read = getattr(content, "read", None)
    return callable(read) and not inspect.iscoroutinefunction(read) and not isinstance(content, io.TextIOBase)


def _is_seekable(stream: IO[bytes]) -> bool:
    seekable = getattr(stream, "seekable", None)
    return seekable is not None and bool(seekable())


def _new_copy() -> SpooledTemporaryFile[bytes]:
    return SpooledTemporaryFile(MAX_SPOOLED_BYTES)


def _size_of(stream: IO[bytes]) -> int:
    stream.seek(0, os.SEEK_END)
    return stream.tell()

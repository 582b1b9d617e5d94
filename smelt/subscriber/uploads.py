"""Uploads of the files of a new smelt, several at a time, with their progress."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from smelt.backend.audio import AudioStore
from smelt.backend.upload_source import UploadSource
from smelt.errors import RequestRejected

UPLOADS_AT_ONCE: Final = 3


@dataclass(frozen=True)
class UploadProgress:
    """The bytes of a file that were sent so far.

    Attributes:
        index: The position of the file in the list of files, from 0.
        filename: Its name.
        sent_bytes: The bytes that were sent; after an outage, the bytes that have arrived.
        size_bytes: The size of the file in bytes.
    """

    index: int
    filename: str
    sent_bytes: int
    size_bytes: int


OnUpload = Callable[[UploadProgress], Awaitable[None] | None]


class Uploads:
    """Uploads files, up to three at a time; `on_upload`, plain or async, is called as their bytes are sent.

    It is called one at a time, and at the end of each file with all of its bytes; an exception that it raises ends the
    upload. With `again`, files that an earlier call has uploaded are kept.
    """

    def __init__(self, audio: AudioStore, *, on_upload: OnUpload | None, again: bool) -> None:
        self._audio = audio
        self._on_upload = on_upload
        self._again = again
        self._limit = asyncio.Semaphore(UPLOADS_AT_ONCE)
        self._reporting = asyncio.Lock()

    async def run(self, sources: Sequence[UploadSource], paths: Sequence[str]) -> None:
        """Upload each source to its path in the bucket; raise the first error, and end the other uploads."""
        uploads = [
            asyncio.create_task(self._upload(index, source, path))
            for index, (source, path) in enumerate(zip(sources, paths, strict=True))
        ]
        try:
            await asyncio.gather(*uploads)
        finally:
            for task in uploads:
                task.cancel()
            await asyncio.gather(*uploads, return_exceptions=True)

    async def _upload(self, index: int, source: UploadSource, path: str) -> None:
        reported: int | None = None

        async def report(sent_bytes: int) -> None:
            nonlocal reported
            reported = sent_bytes
            await self._report(UploadProgress(index, source.filename, sent_bytes, source.size_bytes))

        async with self._limit:
            try:
                await self._audio.upload(path, source, on_sent=report)
            except RequestRejected as exc:
                if not (self._again and exc.code == "Duplicate"):
                    raise
            if reported != source.size_bytes:
                await report(source.size_bytes)

    async def _report(self, progress: UploadProgress) -> None:
        if self._on_upload is None:
            return
        async with self._reporting:
            result = self._on_upload(progress)
            if inspect.isawaitable(result):
                await result

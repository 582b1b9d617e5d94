"""Recordings in Supabase Storage, streamed in chunks so that memory use does not depend on their size."""

import asyncio
import mimetypes
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError
from storage3 import AsyncStorageClient
from storage3.exceptions import StorageApiError

from smelt.backend.error_mapping import map_storage_error, map_storage_response, map_transport_error
from smelt.backend.resumable import PIECE_BYTES, TRANSFER_TIMEOUT, ResumableUploads, SavedUploads
from smelt.backend.retries import transient_retries
from smelt.backend.upload_source import CHUNK_BYTES, OnSent, UploadSource, path_source
from smelt.contract.channels import AUDIO_BUCKET
from smelt.contract.events import Model
from smelt.errors import NotFound, RequestRejected, Unavailable

LINK_LIFETIME_S: Final = 3600

T = TypeVar("T")
OnBytes = Callable[[int], None]


class _ObjectInfo(Model):
    version: str


class AudioStore:
    """The bucket of recordings; methods raise `Unavailable`, `Unauthorized`, `RequestRejected` or `NotFound`."""

    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self._http = http
        self._url = f"{url}/storage/v1"
        self._resumable = ResumableUploads(self._url, http, AUDIO_BUCKET, SavedUploads())
        self._bucket = AsyncStorageClient(f"{self._url}/", headers={}, http_client=http).from_(AUDIO_BUCKET)

    async def upload(self, path: str, file: UploadSource | Path, *, on_sent: OnSent | None = None) -> None:
        """Upload a file as the caller; an existing object is never replaced, but raises `RequestRejected`.

        A file above 6 MiB is uploaded in pieces: after a cut it continues with the bytes that have arrived, also in a
        later call with the same path and content within 24 hours, unless the server has no resumable uploads.

        `on_sent` is called after each chunk with the bytes sent so far; after a cut, with the bytes that have arrived.
        """
        source = await asyncio.to_thread(path_source, file) if isinstance(file, Path) else file
        if source.size_bytes > PIECE_BYTES and await self._resumable.send(path, source, on_sent):
            return
        async for attempt in transient_retries():
            with attempt:
                try:
                    await _map_errors(f"uploading {path}", lambda: self._send(path, source, on_sent))
                except RequestRejected as exc:
                    # An earlier attempt uploaded the object, but its response was lost.
                    if exc.code != "Duplicate" or attempt.retry_state.attempt_number == 1:
                        raise

    async def download(self, path: str, target: Path, *, on_bytes: OnBytes | None = None) -> None:
        """Download an object into `target`; `on_bytes` is called after each chunk with the bytes received so far."""
        async for attempt in transient_retries():
            with attempt:
                await _map_errors(f"downloading {path}", lambda: self._fetch(path, target, on_bytes))

    async def signed_url(self, path: str) -> str:
        """Return a link from which anyone can download an object for an hour."""
        async for attempt in transient_retries():
            with attempt:
                return await _map_errors(f"signing a link to {path}", lambda: self._sign(path))
        raise AssertionError("tenacity returns a result or raises the last error")

    async def version(self, path: str) -> str:
        """Return the current version of an object; each upload to the same path changes it."""
        async for attempt in transient_retries():
            with attempt:
                return await _map_errors(f"reading the version of {path}", lambda: self._version(path))
        raise AssertionError("tenacity returns a result or raises the last error")

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove objects; paths without an object are ignored."""
        if not paths:
            return
        async for attempt in transient_retries():
            with attempt:
                await _map_errors("removing recordings", lambda: self._bucket.remove(list(paths)))

    async def _send(self, path: str, source: UploadSource, on_sent: OnSent | None) -> None:
        media_type, _ = mimetypes.guess_type(source.filename)
        response = await self._http.post(
            f"{self._url}/object/{AUDIO_BUCKET}/{quote(path)}",
            content=source.chunks(on_sent),
            headers={
                "Content-Type": media_type or "application/octet-stream",
                "Content-Length": str(source.size_bytes),
            },
            timeout=TRANSFER_TIMEOUT,
        )
        if response.is_error:
            raise map_storage_response(response)

    async def _version(self, path: str) -> str:
        response = await self._http.get(f"{self._url}/object/info/{AUDIO_BUCKET}/{quote(path)}")
        if response.is_error:
            raise map_storage_response(response)
        try:
            return _ObjectInfo.model_validate_json(response.content).version
        except ValidationError as exc:
            raise Unavailable(f"reading the version of {path}: unexpected response") from exc

    async def _sign(self, path: str) -> str:
        signed = await self._bucket.create_signed_url(path, LINK_LIFETIME_S)
        link = signed["signedURL"]
        if link is None:
            raise NotFound("not_found", f"The object {path} does not exist.")
        return link

    async def _fetch(self, path: str, target: Path, on_bytes: OnBytes | None) -> None:
        async with self._http.stream("GET", await self._sign(path), timeout=TRANSFER_TIMEOUT) as response:
            if response.is_error:
                await response.aread()
                raise map_storage_response(response)
            await _write_chunks(response, target, on_bytes)


async def _write_chunks(response: httpx.Response, target: Path, on_bytes: OnBytes | None) -> None:
    received_bytes = 0
    with await asyncio.to_thread(target.open, "wb") as stream:
        async for chunk in response.aiter_bytes(CHUNK_BYTES):
            await asyncio.to_thread(stream.write, chunk)
            received_bytes += len(chunk)
            if on_bytes is not None:
                on_bytes(received_bytes)


async def _map_errors(doing: str, call: Callable[[], Awaitable[T]]) -> T:
    try:
        return await call()
    except StorageApiError as exc:
        raise map_storage_error(exc.status, exc.code, exc.message) from exc
    except httpx.TransportError as exc:
        raise map_transport_error(doing, exc) from exc

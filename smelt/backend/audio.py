"""The recordings in Supabase Storage; bytes flow through in pieces, whatever their number."""

import asyncio
import mimetypes
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError
from storage3 import AsyncStorageClient
from storage3.exceptions import StorageApiError

from smelt.backend.error_mapping import map_http_error, map_storage_error, unanswered
from smelt.backend.retries import transient_retries
from smelt.contract.channels import AUDIO_BUCKET
from smelt.contract.events import Model
from smelt.errors import NotFound, RequestRejected, SmeltError, Unavailable

LINK_LIFETIME_S: Final = 3600
CHUNK_BYTES: Final = 1 << 18
# Storage answers an upload only after it has moved the bytes to where they stay.
TRANSFER_TIMEOUT: Final = httpx.Timeout(30, read=300)

T = TypeVar("T")
OnBytes = Callable[[int], None]


class _StorageError(Model):
    statusCode: str
    error: str
    message: str


class _ObjectInfo(Model):
    version: str


class AudioStore:
    """The bucket of recordings; raises `Unavailable`, `Unauthorized`, `RequestRejected` or `NotFound`."""

    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self._http = http
        self._url = f"{url}/storage/v1"
        self._bucket = AsyncStorageClient(f"{self._url}/", headers={}, http_client=http).from_(AUDIO_BUCKET)

    async def upload(self, path: str, file: Path | str, *, on_bytes: OnBytes | None = None) -> None:
        """Upload a file as the caller; an object that is already there is refused, and never replaced."""
        async for attempt in transient_retries():
            with attempt:
                try:
                    await _mapped(f"uploading {path}", lambda: self._send(path, Path(file), on_bytes))
                except RequestRejected as exc:
                    # The answer to an earlier attempt got lost, not its bytes.
                    if exc.code != "Duplicate" or attempt.retry_state.attempt_number == 1:
                        raise

    async def download(self, path: str, target: Path, *, on_bytes: OnBytes | None = None) -> None:
        """Download an object into `target`; `on_bytes` hears after every piece how many bytes are there."""
        async for attempt in transient_retries():
            with attempt:
                await _mapped(f"downloading {path}", lambda: self._fetch(path, target, on_bytes))

    async def version(self, path: str) -> str:
        """The version of an object as it is now; it changes with every upload in its place."""
        async for attempt in transient_retries():
            with attempt:
                return await _mapped(f"looking at {path}", lambda: self._version(path))
        raise AssertionError("retrying ends with an answer or an error")

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove objects; those that are already gone are no error."""
        if not paths:
            return
        async for attempt in transient_retries():
            with attempt:
                await _mapped("removing recordings", lambda: self._bucket.remove(list(paths)))

    async def _send(self, path: str, file: Path, on_bytes: OnBytes | None) -> None:
        size_bytes = await asyncio.to_thread(lambda: file.stat().st_size)
        media_type, _ = mimetypes.guess_type(file.name)
        response = await self._http.post(
            f"{self._url}/object/{AUDIO_BUCKET}/{quote(path)}",
            content=_pieces(file, on_bytes),
            headers={"Content-Type": media_type or "application/octet-stream", "Content-Length": str(size_bytes)},
            timeout=TRANSFER_TIMEOUT,
        )
        if response.is_error:
            raise _storage_error(response)

    async def _version(self, path: str) -> str:
        response = await self._http.get(f"{self._url}/object/info/{AUDIO_BUCKET}/{quote(path)}")
        if response.is_error:
            raise _storage_error(response)
        try:
            return _ObjectInfo.model_validate_json(response.content).version
        except ValidationError as exc:
            raise Unavailable(f"looking at {path}: an answer that is none of Storage's") from exc

    async def _fetch(self, path: str, target: Path, on_bytes: OnBytes | None) -> None:
        signed = await self._bucket.create_signed_url(path, LINK_LIFETIME_S)
        link = signed["signedURL"]
        if link is None:
            raise NotFound("not_found", f"there is no {path}")
        async with self._http.stream("GET", link, timeout=TRANSFER_TIMEOUT) as response:
            if response.is_error:
                await response.aread()
                raise _storage_error(response)
            await _write_pieces(response, target, on_bytes)


async def _pieces(file: Path, on_bytes: OnBytes | None) -> AsyncIterator[bytes]:
    sent_bytes = 0
    with await asyncio.to_thread(file.open, "rb") as stream:
        while piece := await asyncio.to_thread(stream.read, CHUNK_BYTES):
            yield piece
            sent_bytes += len(piece)
            if on_bytes is not None:
                on_bytes(sent_bytes)


async def _write_pieces(response: httpx.Response, target: Path, on_bytes: OnBytes | None) -> None:
    received_bytes = 0
    with await asyncio.to_thread(target.open, "wb") as stream:
        async for piece in response.aiter_bytes(CHUNK_BYTES):
            await asyncio.to_thread(stream.write, piece)
            received_bytes += len(piece)
            if on_bytes is not None:
                on_bytes(received_bytes)


def _storage_error(response: httpx.Response) -> SmeltError:
    try:
        error = _StorageError.model_validate_json(response.content)
    except ValidationError:
        return map_http_error(response.status_code, response.reason_phrase)
    return map_storage_error(error.statusCode, error.error, error.message)


async def _mapped(doing: str, call: Callable[[], Awaitable[T]]) -> T:
    try:
        return await call()
    except StorageApiError as exc:
        raise map_storage_error(exc.status, exc.code, exc.message) from exc
    except httpx.TransportError as exc:
        raise unanswered(doing, exc) from exc

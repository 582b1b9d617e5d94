"""Resumable uploads (TUS 1.0.0), in pieces of 6 MiB.

Own code over httpx: the maintained clients (tuspy, aiotus) bring HTTP clients of their own, without the authorization
and the connections of a `Project`.
"""

import asyncio
import base64
import json
import mimetypes
import os
import re
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

import httpx
import platformdirs

from smelt.backend.error_mapping import map_storage_error, map_storage_response, map_transport_error
from smelt.backend.retries import transient_retries
from smelt.backend.upload_source import OnSent, UploadSource
from smelt.errors import PermanentError, RequestRejected, SmeltError, TransientError, Unauthorized, Unavailable

PIECE_BYTES: Final = 6 * 1024 * 1024
"""The hosted Storage accepts no other size, except for the last piece."""
# Storage responds to an upload only after it has moved the bytes to their final place.
TRANSFER_TIMEOUT: Final = httpx.Timeout(30, read=300)
PIECE_ATTEMPTS: Final = 10
MAX_STARTS: Final = 3
SAVED_LIFETIME_S: Final = 24 * 3600
MAX_SAVED_UPLOADS: Final = 100

_PROTOCOL: Final = {"Tus-Resumable": "1.0.0"}
_NO_ENDPOINT: Final = frozenset({404, 405, 501})
_ID: Final = re.compile(r"[\w-]+", re.ASCII)


class SavedUploads:
    """The ids of unfinished uploads, one file each in the user's cache folder; Storage cannot list them by object.

    An id is kept for 24 hours, like the upload, and at most 100 are kept. If the folder can't be written, uploads
    continue only within one call.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def find(self, fingerprint: str) -> str | None:
        """Return the id of an upload, or None."""
        path = self._path(fingerprint)
        try:
            if time.time() - path.stat().st_mtime > SAVED_LIFETIME_S:
                return None
            upload_id = path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return None
        return upload_id if _ID.fullmatch(upload_id) else None

    def save(self, fingerprint: str, upload_id: str) -> None:
        """Store the id of an upload, and remove the oldest ones."""
        path = self._path(fingerprint)
        with suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._clean_up(path.parent)
            # Of mode 0600: who knows the id of an anonymous upload can continue it.
            with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="ascii") as file:
                file.write(upload_id)
            os.replace(file.name, path)

    def forget(self, fingerprint: str) -> None:
        """Remove the id of an upload."""
        with suppress(OSError):
            self._path(fingerprint).unlink(missing_ok=True)

    def _path(self, fingerprint: str) -> Path:
        folder = self._folder or platformdirs.user_cache_path("smelt") / "uploads"
        return folder / fingerprint

    def _clean_up(self, folder: Path) -> None:
        newest_first = sorted(((_modified_at(path), path) for path in folder.iterdir()), reverse=True)
        for position, (saved_at, path) in enumerate(newest_first, start=1):
            if position >= MAX_SAVED_UPLOADS or time.time() - saved_at > SAVED_LIFETIME_S:
                path.unlink(missing_ok=True)


class ResumableUploads:
    """Resumable uploads to one bucket; methods raise `Unavailable`, `Unauthorized`, `RequestRejected` or `NotFound`."""

    def __init__(self, storage_url: str, http: httpx.AsyncClient, bucket: str, saved: SavedUploads) -> None:
        self._url = f"{storage_url}/upload/resumable"
        self._http = http
        self._bucket = bucket
        self._saved = saved

    async def send(self, path: str, source: UploadSource, on_sent: OnSent | None) -> bool:
        """Upload a file, from where an earlier upload of the same content to the same path has stopped.

        Returns:
            False if the server has no resumable uploads; nothing has been sent then.
        """
        fingerprint = await asyncio.to_thread(_fingerprint, self._url, path, source)
        for start in range(MAX_STARTS):
            upload_id = await asyncio.to_thread(self._saved.find, fingerprint)
            upload = _Upload(self._http, f"{self._url}/{upload_id}", path, source, on_sent)
            if upload_id is None or not await upload.resume():
                try:
                    upload_id = await self._create(path, source)
                except RequestRejected as exc:
                    # An earlier attempt stored the object, but its response was lost.
                    if exc.code == "Duplicate" and start:
                        return True
                    raise
                if upload_id is None:
                    return False
                await asyncio.to_thread(self._saved.save, fingerprint, upload_id)
                upload = _Upload(self._http, f"{self._url}/{upload_id}", path, source, on_sent)
            try:
                is_done = await upload.send_rest()
            except PermanentError as exc:
                # After a new sign-in, the upload goes on.
                if not isinstance(exc, Unauthorized):
                    await asyncio.to_thread(self._saved.forget, fingerprint)
                raise
            await asyncio.to_thread(self._saved.forget, fingerprint)
            if is_done:
                return True
        raise Unavailable(f"uploading {path}: the server has lost the upload {MAX_STARTS} times")

    async def _create(self, path: str, source: UploadSource) -> str | None:
        """Create an upload and return its id; None if the server has no resumable uploads."""
        media_type, _ = mimetypes.guess_type(source.filename)
        metadata = {
            "bucketName": self._bucket,
            "objectName": path,
            "contentType": media_type or "application/octet-stream",
        }
        pairs = [f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in metadata.items()]
        headers = {**_PROTOCOL, "Upload-Length": str(source.size_bytes), "Upload-Metadata": ",".join(pairs)}
        async for attempt in transient_retries():
            with attempt:
                try:
                    response = await self._http.post(self._url, headers=headers)
                except httpx.TransportError as exc:
                    raise map_transport_error(f"uploading {path}", exc) from exc
                if response.status_code in _NO_ENDPOINT and "tus-resumable" not in response.headers:
                    return None
                if response.status_code != 201:
                    raise _error(response)
        # A proxy may have changed the host of the URL: only its last part counts.
        upload_id = str(response.headers.get("location", "")).rpartition("/")[2]
        if _ID.fullmatch(upload_id) is None:
            raise Unavailable(f"uploading {path}: unexpected response")
        return upload_id


class _Upload:
    """One upload in progress: the bytes that the server has, and requests for more."""

    def __init__(
        self, http: httpx.AsyncClient, url: str, path: str, source: UploadSource, on_sent: OnSent | None
    ) -> None:
        self._http = http
        self._url = url
        self._doing = f"uploading {path}"
        self._source = source
        self._on_sent = on_sent
        self._offset = 0

    async def resume(self) -> bool:
        """Read how many bytes have arrived; return False if the upload no longer exists."""
        async for attempt in transient_retries(PIECE_ATTEMPTS):
            with attempt:
                return await self._read_offset()
        raise AssertionError("tenacity returns a result or raises the last error")

    async def send_rest(self) -> bool:
        """Send the bytes that have not arrived; return False if the upload no longer exists."""
        is_done: bool | None = None
        while is_done is None:
            async for attempt in transient_retries(PIECE_ATTEMPTS):
                with attempt:
                    if attempt.retry_state.attempt_number > 1 and not await self._read_offset():
                        return False
                    is_done = await self._send_piece()
        return is_done

    async def _send_piece(self) -> bool | None:
        """Send the next piece; return True after the last one, False if the upload is gone, else None.

        If all bytes have arrived, the piece is empty: it completes the upload where the server failed to.
        """
        first_byte = self._offset
        end_byte = min(first_byte + PIECE_BYTES, self._source.size_bytes)
        response = await self._request(
            "PATCH",
            content=self._source.chunks(self._on_sent, first_byte=first_byte, end_byte=end_byte),
            headers={
                "Content-Type": "application/offset+octet-stream",
                "Content-Length": str(end_byte - first_byte),
                "Upload-Offset": str(first_byte),
            },
        )
        match response.status_code:
            case 204:
                self._offset = _offset_in(response)
                return True if self._offset == self._source.size_bytes else None
            case 404 | 410:
                return False
            case 409:
                return await self._resolve_conflict(response, first_byte)
            case _:
                raise _error(response)

    async def _resolve_conflict(self, response: httpx.Response, first_byte: int) -> bool | None:
        """Return the outcome of a 409: the server has other bytes than assumed, or the object exists."""
        if not await self._read_offset():
            return False
        if self._offset != first_byte:
            return None
        if first_byte == self._source.size_bytes:
            # An earlier request completed the upload, but its response was lost.
            return True
        raise _error(response)

    async def _read_offset(self) -> bool:
        response = await self._request("HEAD")
        if response.is_error:
            error = _error(response)
            if isinstance(error, TransientError | Unauthorized):
                raise error
            return False
        if response.headers.get("upload-length") != str(self._source.size_bytes):
            return False
        self._offset = _offset_in(response)
        if self._on_sent is not None:
            await self._on_sent(self._offset)
        return True

    async def _request(
        self, method: str, *, content: AsyncIterator[bytes] | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        try:
            return await self._http.request(
                method, self._url, content=content, headers={**_PROTOCOL, **(headers or {})}, timeout=TRANSFER_TIMEOUT
            )
        except httpx.TransportError as exc:
            raise map_transport_error(self._doing, exc) from exc


def _modified_at(path: Path) -> float:
    """Return when a file was modified; 0 if another upload has just renamed or removed it."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _fingerprint(url: str, path: str, source: UploadSource) -> str:
    """Return a key for a file and its target; two contents must never be mixed in one upload."""
    return sha256(json.dumps([url, path, source.size_bytes, source.sha256()]).encode()).hexdigest()


def _offset_in(response: httpx.Response) -> int:
    text = response.headers.get("upload-offset", "")
    if not (text.isascii() and text.isdigit()):
        raise Unavailable(f"unexpected response to {response.request.method}: no offset")
    return int(text)


def _error(response: httpx.Response) -> SmeltError:
    """Return the error of a response; those of the protocol are plain text with their actual status."""
    if "tus-resumable" not in response.headers:
        return map_storage_response(response)
    message = response.text.strip() or response.reason_phrase
    # A request for the same upload stops the one in progress; it may be one of an earlier call that arrives late.
    if response.status_code in {408, 423} or "lock acquired" in message:
        return Unavailable(message)
    code = "Duplicate" if response.status_code == 409 else str(response.status_code)
    return map_storage_error(response.status_code, code, message)

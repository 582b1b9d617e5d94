"""Endpoints for resumable uploads (TUS), each request with its caller's rights.

The policies are checked at each request but HEAD: with the announced length if it is known, else with the bytes so far
while they arrive. HEAD returns the offset and the metadata to every valid token, as on the platform: only clients to
which the creator gave the URL know the UUID in it. An object appears with its last byte, exactly as after a plain
upload.
"""

import asyncio
import base64
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from smelt.local.keys import Keys
from smelt.local.storage import errors, media, names, tokens, tus
from smelt.local.storage.buckets import find_bucket
from smelt.local.storage.database import Database, Operation
from smelt.local.storage.files import FileStore
from smelt.local.storage.incoming import DEFAULT_CACHE_CONTROL, DEFAULT_TYPE, declared_bytes, parse_user_metadata
from smelt.local.storage.rows import Bucket
from smelt.local.storage.tokens import StorageCaller
from smelt.local.storage.unfinished import PartialFile, ResumableUpload, UnfinishedUploads
from smelt.local.storage.writing import Target, commit_row, final_metadata, preliminary_metadata, try_insert

GROWTH_CHECK_BYTES: Final = 1024 * 1024
"""The policies are checked again after so many bytes of an upload whose length is unknown."""

_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SECONDS: Final = re.compile(r"-?[0-9]+", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class _Access:
    """The rights of a request: the caller for policies, and the owner of the object."""

    caller: StorageCaller
    owner_id: str | None
    upsert: bool
    operation: Operation

    @property
    def identity(self) -> tuple[str, str | None]:
        return self.caller.role, self.owner_id


@dataclass(frozen=True)
class ResumableUploads:
    """The endpoints below `/upload/resumable`."""

    database: Database
    files: FileStore
    unfinished: UnfinishedUploads
    keys: Keys
    size_limit: int

    async def handle(self, request: Request) -> Response:
        """`/upload/resumable`: requests with the token of a user; the policies for uploads apply to each."""
        caller = None if request.method == "OPTIONS" else tokens.authenticate(request, self.keys, required=False)
        return await self._handle(request, caller)

    async def handle_signed(self, request: Request) -> Response:
        """`/upload/resumable/sign`: requests with the token of a signed upload URL in `x-signature`."""
        return await self._handle(request, None)

    async def _handle(self, request: Request, caller: StorageCaller | None) -> Response:
        method = request.headers.get("x-http-method-override", request.method).upper()
        if method == "OPTIONS":
            limits = {"tus_version": tus.VERSION, "tus_extension": tus.EXTENSIONS, "tus_max_size": str(self.size_limit)}
            return tus.response(204, **limits, **tus.PREFLIGHT_HEADERS)
        rejected = tus.check_headers(request.headers, method)
        if rejected is not None:
            return rejected
        try:
            match method:
                case "POST":
                    return await self._create(request, caller)
                case "HEAD":
                    return await self._head(request, caller)
                case "PATCH":
                    return await self._patch(request, caller)
                case "DELETE":
                    return await self._delete(request, caller)
        except errors.StorageError as exc:
            raise tus.TusError(exc.status_code, exc.message) from exc
        raise tus.TusError(404, "Not found\n")

    async def _create(self, request: Request, caller: StorageCaller | None) -> Response:
        if "upload-concat" in request.headers:
            raise tus.concatenation_unsupported()
        length = _number(request, "upload-length")
        if (length is None) != ("upload-defer-length" in request.headers):
            raise tus.length_required()
        upload, access = await self._new_upload(request, caller, length)
        headers = {"location": _location(request, upload, is_signed=caller is None)}
        async with self.unfinished.exclusive(upload.version) as stop:
            try:
                await self.unfinished.create(upload)
                if request.headers.get("content-type") == tus.CONTENT_TYPE:
                    upload, offset = await self._receive(request, access, upload, stop)
                    headers["upload_offset"] = str(offset)
                elif upload.length == 0:
                    await self._authorize(access, upload, 0)
                    upload = await self._finish(access, upload, 0)
            except BaseException:
                # The client does not know the URL of the upload.
                await asyncio.shield(self.unfinished.remove(upload.version))
                raise
        return tus.response(201, **headers, **_progress_headers(upload))

    async def _new_upload(
        self, request: Request, caller: StorageCaller | None, length: int | None
    ) -> tuple[ResumableUpload, _Access]:
        """Validate a new upload in the platform's order."""
        metadata = tus.parse_metadata(request.headers.get("upload-metadata", "")) or {}
        bucket_id, key = metadata.get("bucketName") or "", metadata.get("objectName") or ""
        names.check_bucket_name(bucket_id)
        names.check_key(key)
        access = self._access(request, caller, "create", bucket_id, key)
        bucket = await self._bucket(access, bucket_id)
        if (length or 0) > bucket.size_limit(self.size_limit):
            raise tus.maximum_exceeded()
        seconds = metadata.get("cacheControl") or ""
        control = f"max-age={seconds}" if _SECONDS.fullmatch(seconds) else DEFAULT_CACHE_CONTROL
        target = Target.of(bucket_id, key, access.owner_id)
        upload = ResumableUpload(
            version=target.version,
            bucket_id=bucket_id,
            key=key,
            length=length,
            creator=access.identity,
            metadata=metadata | {"cacheControl": control},
            created_at=self.unfinished.now(),
        )
        await self._authorize(access, upload, length or declared_bytes(request))
        mime_type = metadata.get("contentType")
        # As on the platform, an upload without a type passes.
        if mime_type:
            media.check_type(mime_type, bucket.allowed_mime_types)
        names.check_unicode(bucket_id, key, target.version, root="stub")
        return upload, access

    async def _head(self, request: Request, caller: StorageCaller | None) -> Response:
        bucket_id, key, version = _upload_id(request)
        self._access(request, caller, "get", bucket_id, key)
        async with self.unfinished.exclusive(version):
            upload = await self._find(bucket_id, key, version)
            offset = await self.unfinished.offset(upload)
        length = {"upload_defer_length": "1"} if upload.length is None else {"upload_length": str(upload.length)}
        metadata = tus.format_metadata(upload.metadata)
        return tus.response(
            200, cache_control="no-store", upload_offset=str(offset), upload_metadata=metadata, **length
        )

    async def _patch(self, request: Request, caller: StorageCaller | None) -> Response:
        bucket_id, key, version = _upload_id(request)
        offset = _number(request, "upload-offset")
        if offset is None:
            raise tus.offset_required()
        if "content-type" not in request.headers:
            raise tus.content_type_required()
        access = self._access(request, caller, "part", bucket_id, key)
        upload = await self._find(bucket_id, key, version)
        async with self._terminating_if_denied(access, upload):
            await self._authorize(access, upload, upload.length or offset + (declared_bytes(request) or 0))
            async with self.unfinished.exclusive(version) as stop:
                upload = await self._find(bucket_id, key, version)
                if offset != await self.unfinished.offset(upload):
                    raise tus.offset_conflict()
                length = _number(request, "upload-length")
                if length is not None:
                    upload = await self._declare_length(access, upload, offset, length)
                if not upload.is_finished:
                    upload, offset = await self._receive(request, access, upload, stop)
        return tus.response(204, upload_offset=str(offset), **_progress_headers(upload))

    async def _declare_length(
        self, access: _Access, upload: ResumableUpload, offset: int, length: int
    ) -> ResumableUpload:
        if upload.length is not None or length < offset:
            raise tus.length_required()
        bucket = await self._bucket(access, upload.bucket_id)
        if length > bucket.size_limit(self.size_limit):
            raise tus.maximum_exceeded()
        upload = replace(upload, length=length)
        await self._authorize(access, upload, length)
        await self.unfinished.save(upload)
        return upload

    async def _delete(self, request: Request, caller: StorageCaller | None) -> Response:
        bucket_id, key, version = _upload_id(request)
        access = self._access(request, caller, "delete", bucket_id, key)
        upload = await self._find(bucket_id, key, version)
        async with self._terminating_if_denied(access, upload):
            await self._authorize(access, upload, upload.length)
        async with self.unfinished.exclusive(version):
            if (await self._find(bucket_id, key, version)).is_finished:
                raise tus.already_completed()
            await self.unfinished.remove(version)
        return tus.response(204)

    async def _receive(
        self, request: Request, access: _Access, upload: ResumableUpload, stop: asyncio.Event
    ) -> tuple[ResumableUpload, int]:
        """Append the body to the upload, and finish it with its last byte; return it and its new offset."""
        bucket = await self._bucket(access, upload.bucket_id)
        limit = bucket.size_limit(self.size_limit) if upload.length is None else upload.length
        async with self.unfinished.open(upload.version) as file:
            if file.size_bytes + (declared_bytes(request) or 0) > limit:
                raise tus.size_exceeded()
            checked_bytes = file.size_bytes
            async for chunk in _chunks(request, stop):
                if file.size_bytes + len(chunk) > limit:
                    await file.undo()
                    raise tus.size_exceeded()
                await file.write(chunk)
                if upload.length is None and file.size_bytes >= checked_bytes + GROWTH_CHECK_BYTES:
                    checked_bytes = file.size_bytes
                    await self._authorize(access, upload, checked_bytes)
            await asyncio.to_thread(file.save)
            size_bytes = file.size_bytes
            if size_bytes == upload.length:
                await self._authorize_last_bytes(access, upload, file)
            elif upload.length is None:
                await self._authorize(access, upload, size_bytes)
        # The file is closed: from here on, its bytes may be those of the object.
        if size_bytes == upload.length:
            upload = await self._finish(access, upload, size_bytes)
        return upload, size_bytes

    async def _authorize_last_bytes(self, access: _Access, upload: ResumableUpload, file: PartialFile) -> None:
        try:
            await self._authorize(access, upload, file.size_bytes)
        except errors.StorageError:
            # A client that finds all bytes here would not send the request again.
            await file.undo()
            raise

    async def _finish(self, access: _Access, upload: ResumableUpload, size_bytes: int) -> ResumableUpload:
        """Make the object of a complete upload; if that fails, all bytes have to be sent again."""
        target = replace(Target.of(upload.bucket_id, upload.key, access.owner_id), version=upload.version)
        try:
            metadata = final_metadata(
                size_bytes=size_bytes,
                md5=await self.unfinished.md5(upload.version),
                mime_type=upload.metadata.get("contentType") or DEFAULT_TYPE,
                cache_control=upload.metadata.get("cacheControl") or DEFAULT_CACHE_CONTROL,
            )
            row = target.row(metadata, parse_user_metadata(upload.metadata.get("metadata") or ""))
            await self.files.place(
                self.unfinished.bytes_path(upload.version), target.bucket_id, target.key, target.version
            )
            await commit_row(self.database, self.files, access.operation, row)
        except Exception:
            await self.unfinished.remove(upload.version)
            raise
        return await self.unfinished.finish(upload)

    def _access(self, request: Request, caller: StorageCaller | None, action: str, bucket_id: str, key: str) -> _Access:
        """Return the rights of a request: the caller's, or those of the signed URL without a caller."""
        if caller is not None:
            operation = Operation.of(request, f"storage.tus.upload.{action}")
            upsert = request.headers.get("x-upsert") == "true"
            return _Access(caller=caller, owner_id=caller.subject, upsert=upsert, operation=operation)
        token = request.headers.get("x-signature")
        if not token:
            raise tus.missing_signature()
        claims = tokens.read_url_token(token, self.keys, "upload", f"{bucket_id}/{key}")
        operation = Operation.of(request, f"storage.tus.upload.{action}_signed")
        upsert = bool(claims.get("upsert"))
        return _Access(caller=tokens.SERVICE, owner_id=claims.get("owner"), upsert=upsert, operation=operation)

    async def _authorize(self, access: _Access, upload: ResumableUpload, length: int | None) -> None:
        """Raise `StorageError` unless the policies accept an upload of this length in bytes."""
        target = Target.of(upload.bucket_id, upload.key, access.owner_id)
        metadata = preliminary_metadata(upload.metadata.get("contentType"), length)
        row = target.row(metadata, parse_user_metadata(upload.metadata.get("metadata") or ""))
        await try_insert(self.database, access.caller, access.operation, row, upsert=access.upsert)

    @asynccontextmanager
    async def _terminating_if_denied(self, access: _Access, upload: ResumableUpload) -> AsyncIterator[None]:
        """Terminate an upload that its creator must not continue; the block must not hold the upload's turn."""
        try:
            yield
        except errors.StorageError as exc:
            if exc.code == "AccessDenied" and access.identity == upload.creator:
                await self.unfinished.terminate(upload.version)
            raise

    async def _find(self, bucket_id: str, key: str, version: str) -> ResumableUpload:
        upload = await self.unfinished.find(version)
        if (upload.bucket_id, upload.key) != (bucket_id, key):
            raise tus.upload_not_found()
        return upload

    async def _bucket(self, access: _Access, bucket_id: str) -> Bucket:
        async with self.database.as_service(access.operation) as transaction:
            return await find_bucket(transaction, bucket_id)


async def _chunks(request: Request, stop: asyncio.Event) -> AsyncGenerator[bytes, None]:
    """Yield the body of a request; raise `TusError` as soon as a newer request stops this one."""
    body = aiter(request.stream())
    stopping = asyncio.create_task(stop.wait())

    async def read() -> bytes | None:
        return await anext(body, None)

    reading = asyncio.create_task(read())
    try:
        while True:
            await asyncio.wait((reading, stopping), return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                raise tus.request_replaced()
            chunk = reading.result()
            if chunk is None:
                return
            yield chunk
            reading = asyncio.create_task(read())
    finally:
        for task in (reading, stopping):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


def _number(request: Request, header: str) -> int | None:
    value = request.headers.get(header)
    return None if value is None else int(value)


def _upload_id(request: Request) -> tuple[str, str, str]:
    """Return bucket, key and version of the upload that the path names."""
    text = request.path_params.get("id", "")
    try:
        decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError as exc:
        raise tus.invalid_upload_id() from exc
    path, _, version = decoded.rpartition("/")
    bucket_id, _, key = path.partition("/")
    if not key or _UUID.fullmatch(version) is None:
        raise tus.invalid_upload_id()
    return bucket_id, key, version


def _location(request: Request, upload: ResumableUpload, *, is_signed: bool) -> str:
    """Return the URL of an upload as the client sees this server, also through proxies."""
    headers = request.headers
    scheme = headers.get("x-forwarded-proto", request.url.scheme)
    host = headers.get("x-forwarded-host") or headers.get("host") or request.url.netloc
    port = headers.get("x-forwarded-port", "443")
    if "x-forwarded-host" in headers and port not in ("80", "443"):
        host = f"{re.sub(r':[0-9]+$', '', host)}:{port}"
    path = f"{request.scope.get('root_path', '')}/upload/resumable{'/sign' if is_signed else ''}"
    text = f"{upload.bucket_id}/{upload.key}/{upload.version}"
    return f"{scheme}://{host}{path}/{base64.urlsafe_b64encode(text.encode()).decode().rstrip('=')}"


def _progress_headers(upload: ResumableUpload) -> dict[str, str]:
    if upload.is_finished:
        return {"tus_complete": "1"}
    return {"upload_expires": format_datetime(datetime.fromtimestamp(upload.expires_at, UTC), usegmt=True)}

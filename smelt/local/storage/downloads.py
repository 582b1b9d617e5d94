"""Endpoints for downloads, object info and signed URLs; access by policies, public buckets or signed URLs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from functools import partial
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from smelt.local.keys import JwtClaims, Keys
from smelt.local.storage import errors, names, tokens
from smelt.local.storage.body import Fields, read_body
from smelt.local.storage.buckets import find_bucket
from smelt.local.storage.byte_range import ByteRange, parse_range
from smelt.local.storage.database import Database, Operation
from smelt.local.storage.files import FileStore
from smelt.local.storage.objects import find_object
from smelt.local.storage.responses import json_response
from smelt.local.storage.rows import StoredObject
from smelt.local.storage.tokens import StorageCaller

_VISIBLE: Final = "select name from storage.objects where bucket_id = %(bucket_id)s and name = any(%(paths)s)"
_HIDDEN: Final = "Either the object does not exist or you do not have access to it"
# As in JavaScript's encodeURIComponent.
_URI_SAFE: Final = "!'()*"


@dataclass(frozen=True)
class Downloads:
    """The endpoints that return objects and sign URLs."""

    database: Database
    files: FileStore
    keys: Keys

    async def get_authenticated(self, request: Request) -> Response:
        """`GET /object/authenticated/{bucket}/{key}`: download as the caller."""
        caller = tokens.authenticate(request, self.keys)
        return await self._send(request, partial(self._find, request, caller, "storage.object.get_authenticated"))

    async def get(self, request: Request) -> Response:
        """`GET /object/{bucket}/{key}`: download as the caller, or without authorization from a public bucket."""
        caller = tokens.authenticate_or_none(request, self.keys)
        return await self._send(request, partial(self._find, request, caller, "storage.object.get_authenticated"))

    async def get_public(self, request: Request) -> Response:
        """`GET /object/public/{bucket}/{key}`: download from a public bucket."""
        return await self._send(request, partial(self._find, request, None, "storage.object.get_public"))

    async def get_signed(self, request: Request) -> Response:
        """`GET /object/sign/{bucket}/{key}?token=`: download with a signed URL."""
        bucket_id, key = request.path_params["bucket"], request.path_params["key"]
        token = request.query_params.get("token")
        claims = tokens.read_url_token(token, self.keys, "download", f"{bucket_id}/{key}")

        async def find() -> StoredObject:
            async with self.database.as_service(Operation.of(request, "storage.object.get_signed")) as transaction:
                return await find_object(transaction, bucket_id, key)

        return await self._send(request, find, expires=_expires(claims))

    async def info(self, request: Request) -> Response:
        """`GET /object/info/{bucket}/{key}`: return the info as the caller or from a public bucket."""
        caller = tokens.authenticate_or_none(request, self.keys)
        return _describe(await self._find(request, caller, "storage.object.info_authenticated"))

    async def info_authenticated(self, request: Request) -> Response:
        """`GET /object/info/authenticated/{bucket}/{key}`: return the info as the caller."""
        caller = tokens.authenticate(request, self.keys)
        return _describe(await self._find(request, caller, "storage.object.info_authenticated"))

    async def info_public(self, request: Request) -> Response:
        """`GET /object/info/public/{bucket}/{key}`: return the info from a public bucket."""
        return _describe(await self._find(request, None, "storage.object.info_public"))

    async def sign(self, request: Request) -> Response:
        """`POST /object/sign/{bucket}/{key}`: sign a download URL that expires."""
        fields = Fields(await read_body(request))
        lifetime_s = fields.integer("expiresIn", 1, 1, required=True)
        fields.check()
        caller = tokens.authenticate(request, self.keys)
        bucket_id, key = request.path_params["bucket"], request.path_params["key"]
        async with self.database.acting_as(caller, Operation.of(request, "storage.object.sign")) as transaction:
            await find_object(transaction, bucket_id, key)
        return json_response({"signedURL": self._signed_url(bucket_id, key, lifetime_s)})

    async def sign_many(self, request: Request) -> Response:
        """`POST /object/sign/{bucket}`: sign download URLs for the given paths that the caller can see."""
        fields = Fields(await read_body(request))
        lifetime_s = fields.integer("expiresIn", 1, 1, required=True)
        paths = fields.texts("paths")
        fields.check()
        caller, bucket_id = tokens.authenticate(request, self.keys), request.path_params["bucket"]
        async with self.database.acting_as(caller, Operation.of(request, "storage.object.sign_many")) as transaction:
            rows = await transaction.records(_VISIBLE, bucket_id=bucket_id, paths=paths)
        visible = {row["name"] for row in rows}
        return json_response(
            [
                {
                    "error": None if path in visible else _HIDDEN,
                    "path": path,
                    "signedURL": self._signed_url(bucket_id, path, lifetime_s) if path in visible else None,
                }
                for path in paths
            ]
        )

    def _signed_url(self, bucket_id: str, key: str, lifetime_s: int) -> str:
        token = tokens.sign_download_url(self.keys, bucket_id, key, lifetime_s)
        return f"/object/sign/{bucket_id}/{key}?token={token}"

    async def _find(self, request: Request, caller: StorageCaller | None, operation_name: str) -> StoredObject:
        """Return the object of the request path; without a caller, only from a public bucket."""
        bucket_id, key = request.path_params["bucket"], request.path_params["key"]
        names.check_key(key)
        operation = Operation.of(request, operation_name)
        async with self.database.as_service(operation) as transaction:
            bucket = await find_bucket(transaction, bucket_id)
            if bucket.public:
                return await find_object(transaction, bucket_id, key)
        if caller is None:
            raise errors.no_such_bucket()
        async with self.database.acting_as(caller, operation) as transaction:
            return await find_object(transaction, bucket_id, key)

    async def _send(
        self, request: Request, find: Callable[[], Awaitable[StoredObject]], expires: str | None = None
    ) -> Response:
        found = await find()
        if request.method == "HEAD" or _is_unchanged(request, found):
            status_code, length = (200, found.size_bytes) if request.method == "HEAD" else (304, 0)
            headers = _headers(request, found, expires) | {"content-length": str(length)}
            return Response(status_code=status_code, headers=headers)
        part = _part(request, found)
        try:
            opened = await self.files.open(found.bucket_id, found.name, found.version)
        except FileNotFoundError as exc:
            if (await find()).version == found.version:
                raise errors.internal_error() from exc
            # The object was replaced after its row was read: send the new version.
            return await self._send(request, find, expires)
        headers = _headers(request, found, expires) | {"content-length": str(part.length)}
        status_code = 200
        if "range" in request.headers:
            status_code, headers["content-range"] = 206, part.content_range()
        return StreamingResponse(opened.read(part.first, part.length), status_code, headers)


def _part(request: Request, found: StoredObject) -> ByteRange:
    header = request.headers.get("range")
    size_bytes = found.size_bytes
    return ByteRange(0, size_bytes - 1, size_bytes) if header is None else parse_range(header, size_bytes)


def _headers(request: Request, found: StoredObject, expires: str | None) -> dict[str, str]:
    headers = {
        "accept-ranges": "bytes",
        # An uploaded page must not run in the project's origin.
        "content-type": "text/plain" if found.mime_type.startswith("text/html") else found.mime_type,
        "etag": found.etag,
        "x-robots-tag": found.robots_tag,
        "last-modified": found.http_last_modified(),
    }
    if expires is not None:
        headers["expires"] = expires
    else:
        is_stale = request.method != "HEAD" and request.headers.get("if-none-match", found.etag) != found.etag
        headers["cache-control"] = found.cache_control + (", stale-while-revalidate=30" if is_stale else "")
    if (name := request.query_params.get("download")) is not None:
        quoted = quote(name, safe=_URI_SAFE)
        headers["content-disposition"] = (
            f"attachment; filename={quoted}; filename*=UTF-8''{quoted}" if name else "attachment;"
        )
    return headers


def _is_unchanged(request: Request, found: StoredObject) -> bool:
    if (etag := request.headers.get("if-none-match")) is not None:
        return etag == found.etag
    try:
        since = parsedate_to_datetime(request.headers.get("if-modified-since", ""))
    except ValueError:
        return False
    return found.last_modified <= (since if since.tzinfo else since.replace(tzinfo=UTC))


def _expires(claims: JwtClaims) -> str:
    try:
        return format_datetime(datetime.fromtimestamp(claims["exp"], UTC), usegmt=True)
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        # As JavaScript formats an invalid date.
        return "Invalid Date"


def _describe(found: StoredObject) -> Response:
    return json_response(
        found.as_info(),
        etag=found.etag,
        last_modified=found.http_last_modified(),
        cache_control=found.cache_control,
    )

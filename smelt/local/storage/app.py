"""The routes of the Storage server, and its responses to requests without a route."""

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import unquote_to_bytes

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from smelt.local.http import AnyPathRoute
from smelt.local.keys import Keys
from smelt.local.storage import errors, tokens, tus
from smelt.local.storage.buckets import Buckets
from smelt.local.storage.database import Database
from smelt.local.storage.downloads import Downloads
from smelt.local.storage.files import FileStore
from smelt.local.storage.listing import Listings
from smelt.local.storage.paging import Pages
from smelt.local.storage.removal import Removal
from smelt.local.storage.responses import error_response, json_response
from smelt.local.storage.resumable import ResumableUploads
from smelt.local.storage.transfers import Transfers
from smelt.local.storage.unfinished import UnfinishedUploads
from smelt.local.storage.uploads import Uploads

logger = logging.getLogger(__name__)

Endpoint = Callable[[Request], Awaitable[Response]]

_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_UPLOAD_METHODS: Final = ["OPTIONS", "POST", "HEAD", "PATCH", "DELETE"]
_NOT_SERVED: Final = {
    "/s3": "The S3 protocol",
    "/iceberg": "The Iceberg catalog",
    "/vector": "Vector storage",
    "/cdn": "The CDN",
}


def create_storage(
    database: Database, files: FileStore, unfinished: UnfinishedUploads, keys: Keys, size_limit: int
) -> ASGIApp:
    """Return the Storage API as an ASGI application, to be mounted at `/storage/v1`."""
    app = Starlette(
        routes=_routes(database, files, unfinished, keys, size_limit),
        exception_handlers={
            errors.StorageError: _error_response,
            tus.TusError: _tus_error_response,
            HTTPException: _route_error_response,
            ClientDisconnect: _disconnected_response,
            Exception: _internal_error_response,
        },
    )
    app.router.redirect_slashes = False
    return _WellFormed(app)


def _routes(
    database: Database, files: FileStore, unfinished: UnfinishedUploads, keys: Keys, size_limit: int
) -> list[AnyPathRoute]:
    uploads = Uploads(database, files, keys, size_limit)
    downloads = Downloads(database, files, keys)
    buckets = Buckets(database, files, keys, size_limit)
    removal, transfers = Removal(database, files, keys), Transfers(database, files, keys)
    listings, pages = Listings(database, keys), Pages(database, keys)

    # The order matters: as on the platform, a path without a special route is an object in a bucket of that name.
    return [
        AnyPathRoute("/bucket", buckets.list, methods=["GET"]),
        AnyPathRoute("/bucket/", buckets.list, methods=["GET"]),
        AnyPathRoute("/bucket", buckets.create, methods=["POST"]),
        AnyPathRoute("/bucket/{bucket}", buckets.get, methods=["GET"]),
        AnyPathRoute("/bucket/{bucket}", buckets.update, methods=["PUT"]),
        AnyPathRoute("/bucket/{bucket}", buckets.delete, methods=["DELETE"]),
        AnyPathRoute("/bucket/{bucket}/empty", buckets.empty, methods=["POST"]),
        AnyPathRoute("/object/upload/sign/{bucket}/{key:path}", uploads.sign, methods=["POST"]),
        AnyPathRoute("/object/upload/sign/{bucket}/{key:path}", uploads.upload_signed, methods=["PUT"]),
        AnyPathRoute("/object/sign/{bucket}/{key:path}", downloads.get_signed, methods=["GET"]),
        AnyPathRoute("/object/sign/{bucket}/{key:path}", downloads.sign, methods=["POST"]),
        AnyPathRoute("/object/sign/{bucket}", downloads.sign_many, methods=["POST"]),
        AnyPathRoute("/object/authenticated/{bucket}/{key:path}", downloads.get_authenticated, methods=["GET"]),
        AnyPathRoute("/object/public/{bucket}/{key:path}", downloads.get_public, methods=["GET"]),
        AnyPathRoute("/object/info/authenticated/{bucket}/{key:path}", downloads.info_authenticated, methods=["GET"]),
        AnyPathRoute("/object/info/public/{bucket}/{key:path}", downloads.info_public, methods=["GET"]),
        AnyPathRoute("/object/info/{bucket}/{key:path}", downloads.info, methods=["GET"]),
        AnyPathRoute("/object/list/{bucket}", listings.list, methods=["POST"]),
        AnyPathRoute("/object/list-v2/{bucket}", pages.list, methods=["POST"]),
        AnyPathRoute("/object/move", transfers.move, methods=["POST"]),
        AnyPathRoute("/object/copy", transfers.copy, methods=["POST"]),
        AnyPathRoute("/object/{bucket}", removal.remove_many, methods=["DELETE"]),
        AnyPathRoute("/object/{bucket}/{key:path}", removal.remove, methods=["DELETE"]),
        AnyPathRoute("/object/{bucket}/{key:path}", downloads.get, methods=["GET"]),
        AnyPathRoute("/object/{bucket}/{key:path}", uploads.upload, methods=["POST", "PUT"]),
        *_resumable_routes(ResumableUploads(database, files, unfinished, keys, size_limit)),
        AnyPathRoute("/status", _status, methods=["GET"]),
        AnyPathRoute("/health", _health(keys), methods=["GET"]),
    ]


def _resumable_routes(resumable: ResumableUploads) -> list[AnyPathRoute]:
    return [
        AnyPathRoute("/upload/resumable", resumable.handle, methods=["OPTIONS", "POST"]),
        AnyPathRoute("/upload/resumable/sign", resumable.handle_signed, methods=["OPTIONS", "POST"]),
        AnyPathRoute("/upload/resumable/sign/{id}", resumable.handle_signed, methods=_UPLOAD_METHODS),
        AnyPathRoute("/upload/resumable/{id}", resumable.handle, methods=_UPLOAD_METHODS),
    ]


class _WellFormed:
    """ASGI middleware that rejects paths whose percent escapes are not UTF-8; uvicorn would replace them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_well_formed(scope["raw_path"]):
            target = _target(Request(scope))
            error = {
                "error": "Bad Request",
                "code": "FST_ERR_BAD_URL",
                "message": f"'{target}' is not a valid url component",
                "statusCode": 400,
            }
            await JSONResponse(error, 400)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _is_well_formed(path: bytes) -> bool:
    try:
        unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        return False
    return _BAD_ESCAPE.search(path) is None


def _target(request: Request) -> str:
    """Return the path and query as the Storage server sees them, without the prefix that the gateway removes."""
    path: str = request.scope["raw_path"].decode("latin-1").removeprefix(request.scope.get("root_path", ""))
    return f"{path}?{request.url.query}" if request.url.query else path


async def _error_response(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, errors.StorageError)
    if exc.http_status == 500:
        logger.error("%s %s: %s", request.method, request.url.path, exc, exc_info=exc)
    return error_response(exc)


async def _tus_error_response(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, tus.TusError)
    if exc.status == 500:
        logger.error("%s %s: %s", request.method, request.url.path, exc, exc_info=exc)
    return tus.error_response(exc.status, exc.message)


async def _route_error_response(request: Request, exc: Exception) -> Response:
    """Return the error for an unknown path or method."""
    target = _target(request)
    for prefix, feature in _NOT_SERVED.items():
        if target.startswith(prefix):
            return error_response(errors.not_served(feature))
    if target.startswith(("/object", "/bucket", "/render")):
        missing = errors.route_not_found(request.method, target)
        return JSONResponse(missing.body(), missing.http_status)
    message = f"Route {request.method}:{target} not found"
    return json_response({"message": message, "error": "Not Found", "statusCode": 404}, 404)


async def _disconnected_response(request: Request, exc: Exception) -> Response:
    # The client has disconnected and does not receive this.
    return Response(status_code=499)


async def _internal_error_response(request: Request, exc: Exception) -> Response:
    return error_response(errors.internal_error())


async def _status(request: Request) -> Response:
    return Response()


def _health(keys: Keys) -> Endpoint:
    async def health(request: Request) -> Response:
        """`GET /health`: report that the server is up, to callers with a token."""
        tokens.authenticate(request, keys, required=False)
        return json_response({"healthy": True})

    return health

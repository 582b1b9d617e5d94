"""The proxy for PostgREST at `/rest/v1`; it streams in both directions."""

import logging
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from types import TracebackType
from typing import Final, Self

import httpx
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from smelt.pickling import PicklableError

logger = logging.getLogger(__name__)

# These belong to one connection, not to the message (RFC 9110, 7.6.1).
_HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# The platform's proxy overwrites what a client sends under this name.
_CLIENT_IP_HEADER: Final = "cf-connecting-ip"
# PostgREST would use `apikey` as a filter, and policies and functions do not need it.
_DROPPED_REQUEST_HEADERS: Final = _HOP_BY_HOP | {"apikey", _CLIENT_IP_HEADER}
# The gateway's server adds its own date.
_DROPPED_RESPONSE_HEADERS: Final = _HOP_BY_HOP | {"date"}
_TOO_LARGE: Final = {
    "code": "request_too_large",
    "details": None,
    "hint": "Raise `max_body_size` in the section [api] of config.toml.",
    "message": "The body of the request is too large",
}
_UNAVAILABLE: Final = {"message": "The upstream server does not respond; see `smelt local status`."}
# Parameters that do not filter the rows of the table; filters on embedded tables, with a dot, do not either.
_NO_FILTERS: Final = frozenset({"select", "order", "limit", "offset", "columns", "on_conflict", "apikey"})
_STATEMENTS: Final = {"PATCH": "UPDATE", "DELETE": "DELETE"}

TIMEOUT: Final = httpx.Timeout(120.0, connect=5.0)
LIMITS: Final = httpx.Limits(max_connections=200, max_keepalive_connections=32)


class Upstream:
    """Connections to PostgREST, open for the duration of an `async with` block.

    It uses a transport, since a client would send the cookies of one caller's response with the next caller's request.
    """

    def __init__(self, url: str) -> None:
        self._url = httpx.URL(url)
        # Only connecting is retried, never a request. `verify=False` skips loading certificates, which plain HTTP does
        # not need.
        self._transport = httpx.AsyncHTTPTransport(limits=LIMITS, retries=2, trust_env=False, verify=False)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(kind, error, trace)

    async def send(
        self,
        method: str,
        target: bytes = b"/",
        headers: Sequence[tuple[bytes, bytes]] = (),
        content: AsyncIterable[bytes] | None = None,
    ) -> httpx.Response:
        """Send a request and return the response with its body unread; the caller closes it."""
        request = httpx.Request(
            method,
            self._url.copy_with(raw_path=target),
            headers=list(headers),
            content=content,
            extensions={"timeout": TIMEOUT.as_dict()},
        )
        if method == "HEAD":
            # PostgREST closes the connection without announcing it, so the next request on it would sometimes fail.
            request.headers["connection"] = "close"
        return await self._transport.handle_async_request(request)


class RestProxy:
    """An ASGI application that forwards requests to PostgREST and rejects bodies over the limit."""

    def __init__(self, upstream: Upstream, max_body_bytes: int) -> None:
        self._upstream = upstream
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if (statement := _unfiltered(request)) is not None:
            # On the platform, a Postgres extension raises this error.
            message = f"{statement} requires a WHERE clause"
            rejection = {"code": "21000", "details": None, "hint": None, "message": message}
            await JSONResponse(rejection, 400)(scope, receive, send)
            return
        try:
            incoming = await self._send(request)
        except ClientDisconnect:
            return
        except _BodyTooLarge:
            await JSONResponse(_TOO_LARGE, 413)(scope, receive, send)
            return
        except httpx.TransportError as exc:
            logger.warning("PostgREST does not respond to %s %s: %r", request.method, request.url.path, exc)
            await JSONResponse(_UNAVAILABLE, 503)(scope, receive, send)
            return
        try:
            await _response(incoming)(scope, receive, send)
        finally:
            # Needed also if the client disconnects before the first byte.
            await incoming.aclose()

    async def _send(self, request: Request) -> httpx.Response:
        if int(request.headers.get("content-length", 0)) > self._max_body_bytes:
            raise _BodyTooLarge
        path = request.scope["raw_path"].removeprefix(request.scope["root_path"].encode()) or b"/"
        parameters = request.scope["query_string"].split(b"&")
        query = b"&".join(part for part in parameters if not part.startswith(b"apikey="))
        return await self._upstream.send(
            request.method,
            path + (b"?" + query if query else b""),
            _forwarded_headers(request),
            self._body(request) if _has_body(request) else None,
        )

    async def _body(self, request: Request) -> AsyncIterator[bytes]:
        size_bytes = 0
        async for chunk in request.stream():
            size_bytes += len(chunk)
            if size_bytes > self._max_body_bytes:
                raise _BodyTooLarge
            yield chunk


def _forwarded_headers(request: Request) -> list[tuple[bytes, bytes]]:
    address = request.client.host if request.client else "unknown"
    kept = [pair for pair in request.headers.raw if pair[0].decode("latin-1") not in _DROPPED_REQUEST_HEADERS]
    return [*kept, (_CLIENT_IP_HEADER.encode(), address.encode())]


class _BodyTooLarge(PicklableError):
    """Aborts a request to PostgREST whose body exceeds the limit."""


def _unfiltered(request: Request) -> str | None:
    """Return the statement that a request would run on all rows of a table, or None."""
    filters = (name for name in request.query_params if name not in _NO_FILTERS)
    if "/rpc/" in request.url.path or any("." not in name or name.startswith("not.") for name in filters):
        return None
    return _STATEMENTS.get(request.method)


def _has_body(request: Request) -> bool:
    return "content-length" in request.headers or "transfer-encoding" in request.headers


def _response(incoming: httpx.Response) -> Response:
    response = StreamingResponse(incoming.aiter_raw(), incoming.status_code)
    response.raw_headers = [
        (name.lower(), value)
        for name, value in incoming.headers.raw
        if name.lower().decode("latin-1") not in _DROPPED_RESPONSE_HEADERS
    ]
    return response

"""`/rest/v1`: PostgREST, passed through in both directions as it comes."""

import logging
from typing import Final

import httpx
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

logger = logging.getLogger(__name__)

# They belong to one connection, not to the message (RFC 9110, 7.6.1).
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
# The key has done its work; policies and functions have no business with it, and PostgREST would filter by it.
_WITHHELD: Final = _HOP_BY_HOP | {"apikey"}
# The server in front writes a date of its own.
_REPLACED: Final = _HOP_BY_HOP | {"date"}
_UNAVAILABLE: Final = {"message": "The upstream server is not answering; `smelt local status` tells how it is."}


class RestProxy:
    """An ASGI application that hands every request to PostgREST and its answer back."""

    def __init__(self, client: httpx.AsyncClient, upstream: str) -> None:
        self._client = client
        self._upstream = httpx.URL(upstream)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            incoming = await self._client.send(self._outgoing(request), stream=True)
        except ClientDisconnect:
            return
        except httpx.TransportError as exc:
            logger.warning("PostgREST does not answer %s %s: %r", request.method, request.url.path, exc)
            await JSONResponse(_UNAVAILABLE, 503)(scope, receive, send)
            return
        try:
            await _response(incoming)(scope, receive, send)
        finally:
            # Also when the client left before the first byte.
            await incoming.aclose()

    def _outgoing(self, request: Request) -> httpx.Request:
        path = request.scope["raw_path"].removeprefix(request.scope["root_path"].encode()) or b"/"
        parameters = request.scope["query_string"].split(b"&")
        query = b"&".join(part for part in parameters if not part.startswith(b"apikey="))
        return self._client.build_request(
            request.method,
            self._upstream.copy_with(raw_path=path + (b"?" + query if query else b"")),
            headers=[(name, value) for name, value in request.headers.items() if name not in _WITHHELD],
            content=request.stream() if _has_body(request) else None,
        )


def _has_body(request: Request) -> bool:
    return "content-length" in request.headers or "transfer-encoding" in request.headers


def _response(incoming: httpx.Response) -> Response:
    response = StreamingResponse(incoming.aiter_raw(), incoming.status_code)
    response.raw_headers = [
        (name.lower(), value)
        for name, value in incoming.headers.raw
        if name.lower().decode("latin-1") not in _REPLACED
    ]
    return response

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
# Parameters that choose no rows of the table itself; neither do filters of embedded ones, which have a dot in them.
_NO_FILTERS: Final = frozenset({"select", "order", "limit", "offset", "columns", "on_conflict", "apikey"})
_STATEMENTS: Final = {"PATCH": "UPDATE", "DELETE": "DELETE"}

TIMEOUT: Final = httpx.Timeout(120.0, connect=5.0)
LIMITS: Final = httpx.Limits(max_connections=200, max_keepalive_connections=32)


def create_client() -> httpx.AsyncClient:
    """Answer the client that speaks to PostgREST; it is open until it is closed."""
    # Connecting is tried again, which repeats no request. It is a plain connection: no certificates are read.
    transport = httpx.AsyncHTTPTransport(limits=LIMITS, retries=2, trust_env=False, verify=False)
    return httpx.AsyncClient(transport=transport, timeout=TIMEOUT, event_hooks={"request": [_close_after_head]})


async def _close_after_head(request: httpx.Request) -> None:
    # PostgREST does so and does not say it: who sent the next request there would get no answer, now and then.
    if request.method == "HEAD":
        request.headers["connection"] = "close"


class RestProxy:
    """An ASGI application that hands every request to PostgREST and its answer back."""

    def __init__(self, client: httpx.AsyncClient, upstream: str) -> None:
        self._client = client
        self._upstream = httpx.URL(upstream)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if (statement := _unfiltered(request)) is not None:
            # On the platform an extension of Postgres says so.
            message = f"{statement} requires a WHERE clause"
            refusal = {"code": "21000", "details": None, "hint": None, "message": message}
            await JSONResponse(refusal, 400)(scope, receive, send)
            return
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


def _unfiltered(request: Request) -> str | None:
    """Answer the statement that a request would run on all rows of a table, None if it does not."""
    filters = (name for name in request.query_params if name not in _NO_FILTERS)
    if "/rpc/" in request.url.path or any("." not in name or name.startswith("not.") for name in filters):
        return None
    return _STATEMENTS.get(request.method)


def _has_body(request: Request) -> bool:
    return "content-length" in request.headers or "transfer-encoding" in request.headers


def _response(incoming: httpx.Response) -> Response:
    response = StreamingResponse(incoming.aiter_raw(), incoming.status_code)
    response.raw_headers = [
        (name.lower(), value) for name, value in incoming.headers.raw if name.lower().decode("latin-1") not in _REPLACED
    ]
    return response

"""Supabase Realtime for the embedded stack: a server that real clients can't tell from the platform's.

Mount it in a Starlette application, and keep it running as long as the application lives:

    realtime = Realtime(RealtimeOptions(keys=..., admin_dsn=..., authenticator_dsn=...))

    @asynccontextmanager
    async def lifespan(app):
        async with realtime.running():
            yield

    app = Starlette(routes=[*create_routes(realtime)], lifespan=lifespan)

The routes are `/realtime/v1/websocket` and `/realtime/v1/api/...`; the uvicorn around it is that of
`smelt.local.serving`. Postgres may be started later, restarted, or away for a while.

From the wire inwards: `socket` and `rest` move bytes, `connection` decides what a frame leads to and `admission` who
may join, `hub` knows who listens, `replication` follows the log, `changes` tells who may know. The rest is pure:
`protocol` (frames), `join`, `bindings`, `conditions`, `requests`, `presence`, `rates`, `pgoutput`, `rendering` and
`frames`.
"""

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from smelt.local.realtime.options import RealtimeOptions
from smelt.local.realtime.rest import BroadcastApi, Endpoint
from smelt.local.realtime.server import Realtime
from smelt.local.realtime.socket import SocketSession

__all__ = ["Realtime", "RealtimeOptions", "create_routes"]


def create_routes(realtime: Realtime) -> list[BaseRoute]:
    """The routes of a server, with the paths that the platform's gateway gives them."""
    rest = BroadcastApi(realtime)

    async def serve_socket(websocket: WebSocket) -> None:
        await SocketSession(realtime, websocket).serve()

    return [
        WebSocketRoute("/realtime/v1/websocket", serve_socket),
        Route("/realtime/v1/websocket", _wants_upgrade, methods=["GET"]),
        Route("/realtime/v1/api/ping", rest.counted(rest.ping), methods=["GET"]),
        _post("/realtime/v1/api/broadcast", rest.counted(rest.broadcast_batch)),
        _post("/realtime/v1/api/broadcast/{topic}/events/{event}", rest.counted(rest.broadcast_one)),
        Route("/realtime/v1/api/tenants/{tenant}/health", rest.health, methods=["GET"]),
        _post("/realtime/v1/api/tenants/{tenant}/reload", rest.disconnect_all),
        _post("/realtime/v1/api/tenants/{tenant}/shutdown", rest.shut_down),
        Route("/realtime/v1/{rest:path}", _not_found, methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
    ]


def _post(path: str, endpoint: Endpoint) -> Route:
    return Route(path, endpoint, methods=["POST"])


async def _wants_upgrade(request: Request) -> Response:
    return PlainTextResponse("'connection' header must contain 'upgrade', got []", 400)


async def _not_found(request: Request) -> Response:
    return HTMLResponse("Not Found", 404)

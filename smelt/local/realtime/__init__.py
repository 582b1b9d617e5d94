"""The Realtime server of the embedded stack; official clients work with it as with the platform's.

Mount it in a Starlette application, and run it in the lifespan of the application:

    realtime = Realtime(RealtimeOptions(keys=..., realtime_dsn=..., authenticator_dsn=...))

    @asynccontextmanager
    async def lifespan(app):
        async with realtime.running():
            yield

    app = Starlette(routes=[*create_routes(realtime)], lifespan=lifespan)

The routes are `/realtime/v1/websocket` and `/realtime/v1/api/...`; they need the uvicorn configuration of
`smelt.local.gateway.uvicorn_server`. Postgres may start later, restart, or be unavailable for a while.

From the wire inwards: `socket` and `rest` move bytes, `connection` handles frames, `admission` authorizes joins, `hub`
delivers broadcasts, `replication` reads the WAL, `log_dispatcher` orders its messages, and `changes` publishes
postgres_changes to subscribers. The rest is pure: `protocol` (frames), `join`, `bindings`, `conditions`, `requests`,
`presence`, `rates`, `pgoutput`, `rendering` and `frames`.
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
    """Return the routes of a server, with the paths of the platform's gateway."""
    rest = BroadcastApi(realtime)

    async def serve_socket(websocket: WebSocket) -> None:
        await SocketSession(realtime, websocket).serve()

    return [
        WebSocketRoute("/realtime/v1/websocket", serve_socket),
        Route("/realtime/v1/websocket", _upgrade_required, methods=["GET"]),
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


async def _upgrade_required(request: Request) -> Response:
    return PlainTextResponse("'connection' header must contain 'upgrade', got []", 400)


async def _not_found(request: Request) -> Response:
    return HTMLResponse("Not Found", 404)

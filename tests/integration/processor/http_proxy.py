"""A proxy between a worker and its project that forwards everything, unless a test configures it otherwise."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.harness.stacks import RemoteStack, Stack

BROADCAST = "/realtime/v1/api/broadcast/"
STORAGE = "/storage/v1/"
HOP_BY_HOP = {"connection", "content-encoding", "content-length", "date", "host", "server", "transfer-encoding"}


@dataclass
class HttpProxy:
    """A project as a worker reaches it.

    `on_response` receives the path of each request after the project has responded, before the worker gets the
    response. `drops_broadcasts` drops broadcasts over sockets, so that they are not acknowledged. Paths that start with
    `rejected_prefix` get a 503, and `rejected_count` counts them. Requests to `lost_path` are forwarded, but their
    responses are lost: the worker gets a 504, and `lost_count` counts them. Those to `withheld_path` are withheld until
    the worker disconnects, and `withheld_count` counts them.
    """

    stack: Stack
    url: str = ""
    drops_broadcasts: bool = False
    rejected_prefix: str | None = None
    rejected_count: int = 0
    lost_path: str | None = None
    lost_count: int = 0
    withheld_path: str | None = None
    withheld_count: int = 0
    on_response: Callable[[str], None] = lambda _path: None
    http: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(timeout=60))

    @property
    def project(self) -> RemoteStack:
        """The project, through this proxy."""
        direct = RemoteStack(self.stack.api_url, self.stack.anon_key, self.stack.service_role_key, self.stack.db_url)
        return replace(direct, api_url=self.url)

    async def forward(self, request: Request) -> Response:
        if self.rejected_prefix is not None and request.url.path.startswith(self.rejected_prefix):
            self.rejected_count += 1
            return Response(status_code=503)
        target = httpx.URL(self.stack.api_url).copy_with(
            raw_path=request.scope["raw_path"] + b"?" + request.scope["query_string"]
        )
        response = await self.http.request(
            request.method, target, headers=_end_to_end(request.headers.items()), content=await request.body()
        )
        self.on_response(request.url.path)
        if request.url.path == self.lost_path:
            self.lost_count += 1
            return Response(status_code=504)
        if request.url.path == self.withheld_path:
            self.withheld_count += 1
            await request.receive()
        return Response(response.content, response.status_code, _end_to_end(response.headers.items()))

    async def connect(self, near: WebSocket) -> None:
        url = f"{self.stack.api_url.replace('http', 'ws', 1)}{near.url.path}?{near.url.query}"
        async with connect(url) as far:
            await near.accept()
            directions = {
                asyncio.create_task(self._forward_to_server(near, far)),
                asyncio.create_task(_forward_to_client(far, near)),
            }
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            for mode_key in directions:
                mode_key.cancel()
            await asyncio.wait(directions)

    async def _forward_to_server(self, near: WebSocket, far: ClientConnection) -> None:
        try:
            while True:
                frame = await near.receive_text()
                if not (self.drops_broadcasts and json.loads(frame)["event"] == "broadcast"):
                    await far.send(frame)
        except (WebSocketDisconnect, ConnectionClosed):
            return


async def _forward_to_client(far: ClientConnection, near: WebSocket) -> None:
    async for frame in far:
        assert isinstance(frame, str)
        await near.send_text(frame)


def _end_to_end(headers: list[tuple[str, str]]) -> dict[str, str]:
    return {name: value for name, value in headers if name.lower() not in HOP_BY_HOP}


@asynccontextmanager
async def running_http_proxy(stack: Stack) -> AsyncIterator[HttpProxy]:
    """Run a proxy on a port of its own for the block."""
    between = HttpProxy(stack)
    app = Starlette(
        routes=[
            WebSocketRoute("/realtime/v1/websocket", between.connect),
            Route("/{path:path}", between.forward, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
        ]
    )
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", ws="websockets-sansio"))
    listening = socket.create_server(("127.0.0.1", 0))
    between.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    task = asyncio.create_task(server.serve([listening]))
    try:
        yield between
    finally:
        server.should_exit = True
        await task
        await between.http.aclose()

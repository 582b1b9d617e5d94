"""The gateway under uvicorn, on a socket that is already open."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

MAX_FRAME_BYTES = 5_000_000
STOP_TIMEOUT_S = 2

KEEP_ALIVE_S = 75
"""As long as the platform's gateway. It must be longer than clients keep idle connections themselves, which is 5 s for
httpx: what they send at the moment of the end gets no answer."""


class GatewayServer:
    """Serves an app in this process, until stopped."""

    name = "the gateway"

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        self._server = _Server(
            uvicorn.Config(
                app,
                # Entered and left by the caller, who sees what it raises.
                lifespan="off",
                log_config=None,
                access_log=False,
                ws=_Socket,
                ws_max_size=MAX_FRAME_BYTES,
                # The protocol has heartbeats of its own, and a real server sends no pings.
                ws_ping_interval=None,
                # Nor does it compress, which would be done anew for each receiver of a broadcast.
                ws_per_message_deflate=False,
                timeout_graceful_shutdown=STOP_TIMEOUT_S,
                timeout_keep_alive=KEEP_ALIVE_S,
                server_header=False,
            )
        )
        self._listener = listener
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start to serve."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        await self._server.ready.wait()

    async def wait(self) -> None:
        """Wait until serving ends."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Close the connections, then end."""
        if self._task is not None:
            self._server.should_exit = True
            await asyncio.wait((self._task,))


class _Socket(WebSocketsSansIOProtocol):
    """A websocket that is gone when its app has ended, also if the client does not read what was written to it."""

    async def run_asgi(self) -> None:
        await super().run_asgi()
        if not self.writable.is_set():
            # Closing waits until all is written, which never happens: the buffer would stay as long as the client.
            self.transport.abort()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: signals are the supervisor's."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.ready.set()

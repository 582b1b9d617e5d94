"""Serves the gateway with uvicorn on an open socket."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from smelt.pickling import PicklableError

MAX_FRAME_BYTES = 5_000_000
STOP_TIMEOUT_S = 2

MAX_HEADER_COUNT: Final = 200
MAX_HEADER_BYTES: Final = 64 * 1024
"""Includes the request target."""

REJECTION_CLOSE_DELAY_S: Final = 2.0
_HEADERS_TOO_LARGE: Final = (
    f'{{"code":"headers_too_large","message":"A request has at most {MAX_HEADER_COUNT} headers, of together '
    f'{MAX_HEADER_BYTES} bytes."}}'
).encode()
_REJECTION: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
    b"connection: close\r\n\r\n%s" % (len(_HEADERS_TOO_LARGE), _HEADERS_TOO_LARGE)
)

KEEP_ALIVE_TIMEOUT_S = 75
"""As on the platform's gateway. It must exceed the time for which clients keep idle connections (5 s for httpx):
a request that is sent while the server closes the connection gets no response."""


class GatewayServer:
    """Serves an app in this process until stopped."""

    name = "the gateway"

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        self._server = _Server(
            uvicorn.Config(
                app,
                # The caller runs the lifespan, so that it gets its exceptions.
                lifespan="off",
                log_config=None,
                access_log=False,
                http=_Http,
                ws=_Socket,
                ws_max_size=MAX_FRAME_BYTES,
                # The protocol has its own heartbeats, and the platform sends no pings.
                ws_ping_interval=None,
                # The platform does not compress either; a broadcast would be compressed for each receiver.
                ws_per_message_deflate=False,
                timeout_graceful_shutdown=STOP_TIMEOUT_S,
                timeout_keep_alive=KEEP_ALIVE_TIMEOUT_S,
                server_header=False,
            )
        )
        self._listener = listener
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start serving."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        await self._server.ready.wait()

    async def wait(self) -> None:
        """Wait until serving ends."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Close the connections and stop."""
        if self._task is not None:
            self._server.should_exit = True
            await asyncio.wait((self._task,))


class _HeadersTooLarge(PicklableError):
    """Stops the parsing of a request."""


class _Http(HttpToolsProtocol):
    """HTTP with limits on the headers and trailers of a request; the parser has none.

    They apply during parsing: data beyond them is not stored, and the request does not reach the application.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._header_count = 0
        self._header_bytes = 0
        # Upper bound of what the parser buffers, such as an incomplete header.
        self._unparsed_bytes = 0
        self._is_rejected = False

    def data_received(self, data: bytes) -> None:
        if self._is_rejected:
            return
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._unparsed_bytes > MAX_HEADER_BYTES:
            self._reject()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._header_count = self._header_bytes = self._unparsed_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._count_header_bytes(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._unparsed_bytes = 0
        self._header_count += 1
        self._count_header_bytes(len(name) + len(value))
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        if self._header_count > MAX_HEADER_COUNT or self._header_bytes > MAX_HEADER_BYTES:
            self._reject()
        else:
            super().send_400_response(msg)

    def _count_header_bytes(self, count: int) -> None:
        self._header_bytes += count
        if self._header_count > MAX_HEADER_COUNT or self._header_bytes > MAX_HEADER_BYTES:
            raise _HeadersTooLarge

    def _reject(self) -> None:
        if self._is_rejected or self.transport.is_closing():
            return
        self._is_rejected = True
        if self.cycle is not None and not self.cycle.response_complete:
            # A response is being sent; a second one would corrupt it.
            self.transport.close()
            return
        self.transport.write(_REJECTION)
        self.transport.write_eof()
        # Read and drop the rest of the request: closing a socket with unread input resets the connection, and the
        # client would lose the response.
        self.loop.call_later(REJECTION_CLOSE_DELAY_S, self.transport.close)


class _Socket(WebSocketsSansIOProtocol):
    """A websocket that closes when its app returns, even if the client does not read."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.transport.is_closing():
            # The library has lower limits, and sends no response to a request that exceeds them.
            self.transport.write(_REJECTION)
            self.transport.close()

    async def run_asgi(self) -> None:
        await super().run_asgi()
        if not self.writable.is_set():
            # Closing waits until the buffer is written, which never happens if the client does not read.
            self.transport.abort()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers; the supervisor handles signals."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.ready.set()

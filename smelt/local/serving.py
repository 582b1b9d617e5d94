"""The gateway under uvicorn, on a socket that is already open."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

MAX_FRAME_BYTES = 5_000_000
STOP_TIMEOUT_S = 2

MAX_HEADER_COUNT: Final = 200
MAX_HEADER_BYTES: Final = 64 * 1024
"""The request's target counts as well."""

REFUSAL_TIMEOUT_S: Final = 2.0
_HEADERS_TOO_LARGE: Final = (
    f'{{"code":"headers_too_large","message":"A request has at most {MAX_HEADER_COUNT} headers, of together '
    f'{MAX_HEADER_BYTES} bytes."}}'
).encode()
_REFUSAL: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
    b"connection: close\r\n\r\n%s" % (len(_HEADERS_TOO_LARGE), _HEADERS_TOO_LARGE)
)

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
                http=_Http,
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


class _HeadersTooLarge(Exception):
    """Ends the parsing of a request."""


class _Http(HttpToolsProtocol):
    """HTTP with limits on the headers and trailers of a request; the parser has none of its own.

    They hold while the request is parsed: what is beyond them is never stored, and no application sees the request.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._header_count = 0
        self._header_bytes = 0
        # What the parser may hold by itself, such as one half of a header.
        self._unparsed_bytes = 0
        self._is_refused = False

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._unparsed_bytes += len(data)
        super().data_received(data)
        if self._unparsed_bytes > MAX_HEADER_BYTES:
            self._refuse()

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
            self._refuse()
        else:
            super().send_400_response(msg)

    def _count_header_bytes(self, count: int) -> None:
        self._header_bytes += count
        if self._header_count > MAX_HEADER_COUNT or self._header_bytes > MAX_HEADER_BYTES:
            raise _HeadersTooLarge

    def _refuse(self) -> None:
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        if self.cycle is not None and not self.cycle.response_complete:
            # A response is being sent; a second one would end up inside it.
            self.transport.close()
            return
        self.transport.write(_REFUSAL)
        self.transport.write_eof()
        # The rest of the request is read and dropped: closing a socket with unread input resets the connection, and
        # the client would lose the response.
        self.loop.call_later(REFUSAL_TIMEOUT_S, self.transport.close)


class _Socket(WebSocketsSansIOProtocol):
    """A websocket that is gone when its app has ended, also if the client does not read what was written to it."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.transport.is_closing():
            # The library has lower limits of its own, and leaves a request beyond them without a response.
            self.transport.write(_REFUSAL)
            self.transport.close()

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

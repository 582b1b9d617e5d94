"""An HTTP connection of uvicorn, with bounded waits for the head of a request and for a caller that does not read."""

import asyncio
import fcntl
import sys
import termios
from contextlib import suppress
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from smelt.gateway.errors import ErrorBody

MAX_HEADER_BYTES: Final = 32 * 1024
HEAD_TIMEOUT_S: Final = 20.0
"""Time for the head of a request to arrive, from its first byte or, for the first one, from the connection."""


READ_TIMEOUT_S: Final = 60.0
"""The longest time for which a caller reads nothing of a response."""


class HttpConnection(H11Protocol):
    """A connection that ends if its caller neither sends a head nor reads a response; uvicorn would wait forever."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None

    # Like uvicorn's own method, it takes only transports that can write; asyncio's base class declares any.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_head_timer()
        self._stop_read_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Wait until the caller reads."""
        super().pause_writing()
        self._start_read_timer()

    def resume_writing(self) -> None:
        """Go on: the caller has read enough for more."""
        self._stop_read_timer()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Parse bytes, and wait for the rest of a head that has begun."""
        super().data_received(data)
        self._check_head()

    def on_response_complete(self) -> None:
        """Go on with the next request, which may have arrived in part."""
        super().on_response_complete()
        self._check_head()

    def _check_head(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop_head_timer()
        elif self.conn.trailing_data[0]:
            self._start_head_timer()

    def send_400_response(self, msg: str) -> None:
        """Respond to a request that is not HTTP, or whose head is too large, in the shape of all errors."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            # A response is being sent; a second one would corrupt it.
            self.transport.close()
            return
        sentence = f"The request is not valid HTTP, or its head is larger than {MAX_HEADER_BYTES} bytes."
        body = ErrorBody(error=sentence, code="malformed_request").model_dump_json(exclude_none=True).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")]
        for event in (
            h11.Response(status_code=400, headers=headers, reason="Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _start_read_timer(self) -> None:
        self._stop_read_timer()
        self._read_timer = self.loop.call_later(READ_TIMEOUT_S, self._check_read, self._unread_bytes())

    def _check_read(self, unread_before: int) -> None:
        """End the connection if its caller has read nothing since the timer started."""
        if self._unread_bytes() < unread_before:
            self._start_read_timer()
        else:
            # Not `close`, which waits until everything is sent.
            self.transport.abort()

    def _unread_bytes(self) -> int:
        """Return how many bytes of responses have not arrived at the caller."""
        in_kernel = b""
        # The kernel takes more from the transport only once much of its own buffer is free: up to some megabytes, which
        # a slow caller does not read within the timeout. Some systems do not report how full it is.
        with suppress(OSError):
            in_kernel = fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        return self.transport.get_write_buffer_size() + int.from_bytes(in_kernel, sys.byteorder)

    def _stop_read_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

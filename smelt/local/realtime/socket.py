"""The websocket endpoint: accepts or rejects sockets, and moves frames between a socket and its connection."""

import asyncio
import logging
import time
from contextlib import suppress
from typing import Final

from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from smelt.local.realtime.connection import Connection
from smelt.local.realtime.ending import end
from smelt.local.realtime.mailbox import Incoming, Mailbox
from smelt.local.realtime.protocol import Malformed, Version, decode_binary, decode_text
from smelt.local.realtime.server import Realtime
from smelt.local.realtime.tokens import InvalidRealtimeToken, Token, check_token
from smelt.pickling import PicklableError

logger = logging.getLogger(__name__)

SERVICE_RESTART: Final = 1012


class SocketSession:
    """Serves a websocket from the handshake to its close."""

    def __init__(self, realtime: Realtime, websocket: WebSocket) -> None:
        self._realtime = realtime
        self._options = realtime.options
        self._websocket = websocket

    async def serve(self) -> None:
        """Serve the socket until either side closes it."""
        try:
            version = Version(self._websocket.query_params.get("vsn", Version.V1))
        except ValueError:
            await self._websocket.send_denial_response(Response(status_code=403))
            return
        try:
            token = self._check_key()
        except _Rejected as error:
            await asyncio.sleep(self._options.connect_error_delay_s)
            await self._websocket.send_denial_response(JSONResponse({"error": str(error)}, error.status))
            return
        await self._websocket.accept()
        await self._exchange(version, token)

    def _check_key(self) -> Token:
        key = self._websocket.headers.get("x-api-key", self._websocket.query_params.get("apikey"))
        if key is None:
            raise _Rejected("API key is missing")
        try:
            token = check_token(self._options.keys, self._options.keys.to_token(key), time.time())
        except InvalidRealtimeToken as error:
            raise _Rejected(error.on_connect) from error
        if self._realtime.joins.exceeded(time.monotonic()):
            raise _Rejected("Too many joins per second", status=429)
        return token

    async def _exchange(self, version: Version, token: Token) -> None:
        mailbox = Mailbox(self._options.queue_frames, self._options.queue_bytes)
        # Policies see only the custom headers of a socket.
        headers = {name: text for name, text in self._websocket.headers.items() if name.startswith("x-")}
        connection = Connection(self._realtime, version, token, headers, mailbox)
        jobs = {
            asyncio.create_task(self._read(version, mailbox)),
            asyncio.create_task(self._work(mailbox, connection)),
            asyncio.create_task(self._write(mailbox)),
            asyncio.create_task(self._watch(mailbox)),
        }
        try:
            await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
        finally:
            failures = await end(jobs)
            connection.close()
            for failure in failures:
                if not isinstance(failure, WebSocketDisconnect):
                    logger.error("a socket failed", exc_info=failure)

    async def _read(self, version: Version, mailbox: Mailbox) -> None:
        while True:
            try:
                async with asyncio.timeout(self._options.idle_timeout_s):
                    message = await self._websocket.receive()
            except TimeoutError:
                await self._websocket.close(1000)
                return
            if message["type"] == "websocket.disconnect":
                return
            with suppress(Malformed):
                await mailbox.receive(_decode(version, message.get("text"), message.get("bytes")))

    async def _work(self, mailbox: Mailbox, connection: Connection) -> None:
        while True:
            await connection.receive(await mailbox.next_incoming())

    async def _write(self, mailbox: Mailbox) -> None:
        while (frame := await mailbox.next_outgoing()) is not None:
            if isinstance(frame, str):
                await self._websocket.send_text(frame)
            else:
                await self._websocket.send_bytes(frame)
        await self._websocket.close(SERVICE_RESTART)

    async def _watch(self, mailbox: Mailbox) -> None:
        await mailbox.overflow
        logger.warning("closing a socket that reads too slowly")


class _Rejected(PicklableError):
    """The socket is rejected with this status and message."""

    def __init__(self, sentence: str, *, status: int = 401) -> None:
        super().__init__(sentence)
        self.status = status


def _decode(version: Version, text: str | None, data: bytes | None) -> Incoming:
    return decode_text(version, text) if text is not None else decode_binary(version, data or b"")

"""A Realtime server with scripted faults; tests without faults use the embedded stack."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.server import Request, Response, ServerConnection, serve

Frame = dict[str, Any]
FrameHandler = Callable[[ServerConnection, Frame], Awaitable[bool]]


class ScriptedRealtime:
    """Replies to joins, heartbeats, broadcasts and leaves, unless `on_frame` returns that it handled the frame."""

    def __init__(self) -> None:
        self.url = ""
        self.sockets: list[ServerConnection] = []
        self.opened_count = 0
        self.handshake_count = 0
        self.frames: list[Frame] = []
        self.on_frame: FrameHandler | None = None
        self.reject_with: HTTPStatus | None = None

    def joins(self, topic: str | None = None) -> list[Frame]:
        """Return the joins so far, of one topic or of all."""
        full_topic = None if topic is None else f"realtime:{topic}"
        joins = [frame for frame in self.frames if frame["event"] == "phx_join"]
        return joins if full_topic is None else [frame for frame in joins if frame["topic"] == full_topic]

    async def send_to_all(self, topic: str, event: str, payload: Frame, ref: str | None = None) -> None:
        """Send a frame to every socket."""
        for socket in self.sockets:
            await send(socket, f"realtime:{topic}", event, payload, ref)

    async def broadcast(self, topic: str, event: str, payload: Frame) -> None:
        """Send a broadcast to every socket."""
        await self.send_to_all(topic, "broadcast", {"type": "broadcast", "event": event, "payload": payload})

    async def serve_one(self, socket: ServerConnection) -> None:
        """Serve one socket until it closes."""
        self.sockets.append(socket)
        self.opened_count += 1
        try:
            async for text in socket:
                frame = json.loads(text)
                self.frames.append(frame)
                if self.on_frame is None or not await self.on_frame(socket, frame):
                    await reply_as_server(socket, frame)
        finally:
            self.sockets.remove(socket)

    def check(self, _: ServerConnection, request: Request) -> Response | None:
        """Reject the handshake if `reject_with` is set."""
        assert urlsplit(request.path).path == "/realtime/v1/websocket"
        self.handshake_count += 1
        if self.reject_with is None:
            return None
        return Response(self.reject_with.value, self.reject_with.phrase, request.headers.__class__(), b"")


async def send(socket: ServerConnection, topic: str, event: str, payload: Frame, ref: str | None = None) -> None:
    """Send one frame of protocol 1.0.0."""
    await socket.send(json.dumps({"topic": topic, "event": event, "payload": payload, "ref": ref}))


async def reply(socket: ServerConnection, frame: Frame, status: str = "ok", response: Frame | None = None) -> None:
    """Reply to a frame."""
    await send(socket, frame["topic"], "phx_reply", {"status": status, "response": response or {}}, frame["ref"])


async def reply_as_server(socket: ServerConnection, frame: Frame) -> None:
    """Reply to a frame as a real server does."""
    match frame["event"]:
        case "phx_leave":
            await reply(socket, frame)
            await send(socket, frame["topic"], "phx_close", {}, frame["ref"])
        case "access_token":
            pass
        case _:
            await reply(socket, frame)


@asynccontextmanager
async def scripted_realtime() -> AsyncIterator[ScriptedRealtime]:
    """Run a server on a free port."""
    scripted = ScriptedRealtime()
    async with serve(scripted.serve_one, "127.0.0.1", 0, process_request=scripted.check) as server:
        port = server.sockets[0].getsockname()[1]
        scripted.url = f"http://127.0.0.1:{port}"
        yield scripted
        await asyncio.gather(*(socket.close() for socket in list(scripted.sockets)))

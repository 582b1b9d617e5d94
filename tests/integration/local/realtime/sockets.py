"""A raw socket for tests of single frames."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection

from tests.integration.local.realtime.realtime_server import RealtimeServer

TIMEOUT_S = 30.0


class RawSocket:
    """Speaks protocol 1.0.0, and keeps the frames that are skipped."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._refs = count(1)
        self._frames: list[dict[str, Any]] = []

    async def send(self, topic: str, event: str, payload: Any, join_ref: str | None = None) -> str:
        ref = str(next(self._refs))
        frame = {"topic": topic, "event": event, "payload": payload, "ref": ref, "join_ref": join_ref or ref}
        await self.socket.send(json.dumps(frame))
        return ref

    async def join(self, name: str, *, token: str | None = None, **config: Any) -> dict[str, Any]:
        """Join a channel and return the payload of the reply."""
        payload: dict[str, Any] = {"config": config}
        if token is not None:
            payload["access_token"] = token
        ref = await self.send(f"realtime:{name}", "phx_join", payload)
        reply = await self.next("phx_reply", ref=ref)
        return dict(reply["payload"])

    async def broadcast(self, name: str, event: str, payload: Any) -> str:
        body = {"type": "broadcast", "event": event, "payload": payload}
        return await self.send(f"realtime:{name}", "broadcast", body)

    async def subscribe(self, name: str, *bindings: dict[str, Any], **more: Any) -> list[int]:
        """Join with bindings, wait for the subscription, and return the ids of the bindings."""
        reply = await self.join(name, postgres_changes=list(bindings), **more)
        result = await self.next("system")
        assert result["payload"]["status"] == "ok", result
        return [binding["id"] for binding in reply["response"]["postgres_changes"]]

    async def next(self, event: str, *, ref: str | None = None) -> dict[str, Any]:
        """Return the next frame with this event, and skip other frames."""
        for at, frame in enumerate(self._frames):
            if frame["event"] == event and (ref is None or frame["ref"] == ref):
                return self._frames.pop(at)
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                frame = json.loads(await self.socket.recv())
                if frame["event"] == event and (ref is None or frame["ref"] == ref):
                    return dict(frame)
                self._frames.append(frame)

    async def next_text(self, event: str) -> str:
        """Return the text of the next frame with this event."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                text = str(await self.socket.recv())
                if json.loads(text)["event"] == event:
                    return text

    async def rest(self) -> list[dict[str, Any]]:
        """Return the frames up to now that were skipped or not yet read."""
        ref = await self.send("phoenix", "heartbeat", {})
        await self.next("phx_reply", ref=ref)
        rest, self._frames = self._frames, []
        return rest


@asynccontextmanager
async def raw_socket(server: RealtimeServer, key: str | None = None) -> AsyncIterator[RawSocket]:
    """Connect with a key, by default the anon key."""
    url = f"{server.socket_url}?apikey={key or server.keys.anon_key}&vsn=1.0.0"
    async with websockets.connect(url, max_size=None, ping_interval=None) as socket:
        yield RawSocket(socket)

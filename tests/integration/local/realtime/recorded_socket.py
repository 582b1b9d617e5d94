"""A socket that plays the client of a recording."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection

TIMEOUT_S = 30.0
BARRIER = "barrier"


@dataclass
class RecordedSocket:
    """Reads frames continuously and keeps their order."""

    socket: ClientConnection
    v2: bool
    received: asyncio.Queue[str | bytes | None] = field(default_factory=asyncio.Queue)

    def __post_init__(self) -> None:
        self.reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with suppress(websockets.ConnectionClosed):
            async for data in self.socket:
                self.received.put_nowait(data)
        self.received.put_nowait(None)

    async def next(self) -> str | bytes | None:
        """Wait for the next frame and return it; None if the socket is closed."""
        async with asyncio.timeout(TIMEOUT_S):
            return await self.received.get()

    def put_back(self, frames: Sequence[str | bytes]) -> None:
        """Put frames back to the front of the queue."""
        later = [self.received.get_nowait() for _ in range(self.received.qsize())]
        for frame in (*frames, *later):
            self.received.put_nowait(frame)

    async def until_closed(self) -> list[str | bytes]:
        """Return the remaining frames, after the server has closed the socket."""
        rest = []
        while (data := await self.next()) is not None:
            rest.append(data)
        return rest

    async def close(self) -> int | None:
        """Close the socket unless the server did, and return the close code."""
        await self.socket.close()
        await self.reader
        return self.socket.close_code

    async def rest(self) -> list[str | bytes]:
        """Return the frames up to now: all before the reply to a final heartbeat."""
        beat: Any = {"topic": "phoenix", "event": "heartbeat", "payload": {}, "ref": BARRIER}
        if self.v2:
            beat = [None, BARRIER, "phoenix", "heartbeat", {}]
        with suppress(websockets.ConnectionClosed):
            await self.socket.send(json.dumps(beat))
        rest = []
        while (data := await self.next()) is not None:
            if isinstance(data, str) and BARRIER in data:
                break
            rest.append(data)
        return rest

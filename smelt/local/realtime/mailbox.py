"""What waits for one socket, bounded: frames of its client to be worked on, and frames for its client to be sent.

As on the platform the two share one order while an answer takes long: nothing overtakes it, and what comes meanwhile,
from either side, is taken up in the order in which it came.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from smelt.local.realtime.hub import Encoded
from smelt.local.realtime.protocol import BinaryPush, Frame

Incoming = Frame | BinaryPush

READ_AHEAD: Final = 16


class Mailbox:
    """Frames in both directions; `overflow` is done once more wait to be sent than the limits allow."""

    def __init__(self, max_frames: int, max_bytes: int) -> None:
        self.overflow: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._outgoing: deque[Encoded | None] = deque()
        self._sendable = asyncio.Event()
        self._pending: deque[Incoming | Encoded] = deque()
        self._workable = asyncio.Event()
        self._room = asyncio.Event()
        self._held = False
        self._parked = 0
        self._bytes = 0

    async def receive(self, frame: Incoming) -> None:
        """Queue a frame of the client, waiting while many are queued already."""
        while len(self._pending) - self._parked >= READ_AHEAD:
            self._room.clear()
            await self._room.wait()
        self._pending.append(frame)
        self._workable.set()

    async def next_incoming(self) -> Incoming:
        """Answer the next frame of the client, waiting for it."""
        while True:
            while not self._pending:
                self._workable.clear()
                await self._workable.wait()
            item = self._pending.popleft()
            if isinstance(item, Incoming):
                self._room.set()
                return item
            self._parked -= 1
            self._outgoing.append(item)
            self._sendable.set()

    def put(self, frame: Encoded) -> None:
        """Queue a frame for the client."""
        if self._held or self._parked:
            self._pending.append(frame)
            self._parked += 1
            self._workable.set()
            self._count(frame)
        else:
            self.put_now(frame)

    def put_now(self, frame: Encoded) -> None:
        """Queue a frame for the client in spite of a hold."""
        self._outgoing.append(frame)
        self._sendable.set()
        self._count(frame)

    def end(self) -> None:
        """Let nothing be sent after what is queued by now."""
        self._outgoing.append(None)
        self._sendable.set()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let what is put meanwhile wait behind what has been received."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    async def next_outgoing(self) -> Encoded | None:
        """Answer the next frame for the client, waiting for it; None is the end."""
        while not self._outgoing:
            self._sendable.clear()
            await self._sendable.wait()
        frame = self._outgoing.popleft()
        self._bytes -= len(frame or "")
        return frame

    def _count(self, frame: Encoded) -> None:
        self._bytes += len(frame)
        waiting = len(self._outgoing) + self._parked
        if (waiting > self._max_frames or self._bytes > self._max_bytes) and not self.overflow.done():
            self.overflow.set_result(None)

"""The bounded queues of a socket: incoming frames to handle, and outgoing frames to send.

As on the platform, both share one order while a reply is pending: no frame overtakes the reply, and frames of both
directions are handled in the order of their arrival.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from smelt.local.realtime.hub import Encoded
from smelt.local.realtime.protocol import BinaryPush, Frame

Incoming = Frame | BinaryPush

MAX_READ_AHEAD: Final = 16


class Mailbox:
    """Queues frames in both directions; `overflow` is done once the outgoing frames exceed the limits."""

    def __init__(self, max_frames: int, max_bytes: int) -> None:
        self.overflow: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._outgoing: deque[Encoded | None] = deque()
        self._has_outgoing = asyncio.Event()
        self._pending: deque[Incoming | Encoded] = deque()
        self._has_pending = asyncio.Event()
        self._room = asyncio.Event()
        self._is_held = False
        self._deferred_count = 0
        self._bytes = 0

    async def receive(self, frame: Incoming) -> None:
        """Queue an incoming frame; wait while `MAX_READ_AHEAD` frames are queued."""
        while len(self._pending) - self._deferred_count >= MAX_READ_AHEAD:
            self._room.clear()
            await self._room.wait()
        self._pending.append(frame)
        self._has_pending.set()

    async def next_incoming(self) -> Incoming:
        """Wait for the next incoming frame and return it."""
        while True:
            while not self._pending:
                self._has_pending.clear()
                await self._has_pending.wait()
            item = self._pending.popleft()
            if isinstance(item, Incoming):
                self._room.set()
                return item
            self._deferred_count -= 1
            self._outgoing.append(item)
            self._has_outgoing.set()

    def put(self, frame: Encoded) -> None:
        """Queue an outgoing frame."""
        if self._is_held or self._deferred_count:
            self._pending.append(frame)
            self._deferred_count += 1
            self._has_pending.set()
            self._count(frame)
        else:
            self.put_now(frame)

    def put_now(self, frame: Encoded) -> None:
        """Queue an outgoing frame even during a hold."""
        self._outgoing.append(frame)
        self._has_outgoing.set()
        self._count(frame)

    def end(self) -> None:
        """Send nothing after the frames that are queued now."""
        self._outgoing.append(None)
        self._has_outgoing.set()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Queue outgoing frames behind the incoming ones meanwhile."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False

    async def next_outgoing(self) -> Encoded | None:
        """Wait for the next outgoing frame and return it; None means the end."""
        while not self._outgoing:
            self._has_outgoing.clear()
            await self._has_outgoing.wait()
        frame = self._outgoing.popleft()
        self._bytes -= len(frame or "")
        return frame

    def _count(self, frame: Encoded) -> None:
        self._bytes += len(frame)
        waiting = len(self._outgoing) + self._deferred_count
        if (waiting > self._max_frames or self._bytes > self._max_bytes) and not self.overflow.done():
            self.overflow.set_result(None)

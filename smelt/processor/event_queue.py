"""The queue of events of one smelt: sent in order, without delaying the work."""

import asyncio
from dataclasses import dataclass
from typing import Any

from smelt.backend.realtime import Channel
from smelt.processor.broadcasts import Announcer


@dataclass(frozen=True)
class _QueuedEvent:
    event: str
    payload: dict[str, Any]

    def replaces(self, other: "_QueuedEvent") -> bool:
        """Return True if this is a newer progress of the same stage, which supersedes the older one."""
        return self.event == other.event == "progress" and self.payload["status"] == other.payload["status"]


class EventQueue:
    """Sends events one by one; on a slow network, newer progress replaces queued progress."""

    def __init__(self, announcer: Announcer, channel: Channel) -> None:
        self._announcer = announcer
        self._channel = channel
        self._queue: list[_QueuedEvent] = []
        self._changed = asyncio.Condition()
        self._sending = False

    async def put(self, event: str, payload: dict[str, Any]) -> None:
        """Queue an event."""
        queued = _QueuedEvent(event, payload)
        async with self._changed:
            if self._queue and queued.replaces(self._queue[-1]):
                self._queue.pop()
            self._queue.append(queued)
            self._changed.notify_all()

    async def run_queue(self) -> None:
        """Send queued events until cancelled; unacknowledged ones are dropped, since each state is complete."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._queue))
                queued, self._sending = self._queue.pop(0), True
            try:
                await self._announcer.broadcast(self._channel.topic, queued.event, queued.payload, self._channel)
            finally:
                self._sending = False
            async with self._changed:
                self._changed.notify_all()

    async def flush(self, timeout_s: float) -> None:
        """Wait until all queued events are sent; drop the rest after the timeout."""
        async with self._changed:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait_for(lambda: not self._queue and not self._sending)
            except TimeoutError:
                self._queue.clear()

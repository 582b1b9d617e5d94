"""The queue of events of one smelt: sent in order, without delaying the work."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from smelt.backend.realtime import Channel
from smelt.contract.report_events import superseded
from smelt.processor.broadcasts import Announcer

_JOIN_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True)
class _QueuedEvent:
    event: str
    payload: dict[str, Any]

    def in_place_of(self, older: "_QueuedEvent") -> "_QueuedEvent | None":
        """Return this event with the segments of an older progress of the same stage; None if it cannot replace it."""
        if not (self.event == older.event == "progress" and self.payload["status"] == older.payload["status"]):
            return None
        payload = superseded(older.payload, self.payload)
        return None if payload is None else _QueuedEvent(self.event, payload)


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
            if self._queue and (merged := queued.in_place_of(self._queue[-1])) is not None:
                self._queue[-1] = merged
            else:
                self._queue.append(queued)
            self._changed.notify_all()

    async def run_queue(self) -> None:
        """Send queued events once the channel is joined, until cancelled.

        Unacknowledged ones are dropped, since each state is complete. If joining takes long, they are sent over REST.
        """
        await self._channel.wait_joined(_JOIN_TIMEOUT_S)
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

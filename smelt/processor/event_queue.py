"""The events of one smelt on their way out, in order, without holding up its work."""

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
        """A newer progress of the same stage says all that the older one did."""
        return self.event == other.event == "progress" and self.payload["status"] == other.payload["status"]


class EventQueue:
    """Sends events one after the other; a network that is slow gets the newest progress, not a growing queue."""

    def __init__(self, announcer: Announcer, channel: Channel) -> None:
        self._announcer = announcer
        self._channel = channel
        self._waiting: list[_QueuedEvent] = []
        self._changed = asyncio.Condition()
        self._busy = False

    async def say(self, event: str, payload: dict[str, Any]) -> None:
        """Queue an event."""
        said = _QueuedEvent(event, payload)
        async with self._changed:
            if self._waiting and said.replaces(self._waiting[-1]):
                self._waiting.pop()
            self._waiting.append(said)
            self._changed.notify_all()

    async def run_queue(self) -> None:
        """Send what is queued, until cancelled; what nobody acknowledges is dropped, for the next state is whole."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._waiting))
                said, self._busy = self._waiting.pop(0), True
            try:
                await self._announcer.deliver(self._channel.topic, said.event, said.payload, self._channel)
            finally:
                self._busy = False
            async with self._changed:
                self._changed.notify_all()

    async def finish(self, timeout_s: float) -> None:
        """Wait until everything is out, but not longer than this."""
        async with self._changed:
            try:
                async with asyncio.timeout(timeout_s):
                    await self._changed.wait_for(lambda: not self._waiting and not self._busy)
            except TimeoutError:
                self._waiting.clear()

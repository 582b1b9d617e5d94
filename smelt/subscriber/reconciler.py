"""Reconciliation of a user's channel: reads the rows after every join, and from time to time by freshness."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, assert_never

from smelt.backend.realtime import (
    Broadcast,
    ChangesOf,
    Channel,
    ChannelEvent,
    GaveUp,
    Joined,
    Left,
    LiveEvent,
    RealtimeConnection,
    RowChanged,
    Suspect,
)
from smelt.backend.retries import reconnect_wait_s
from smelt.backend.waiting import wait_for_event
from smelt.errors import SmeltError, TransientError
from smelt.subscriber.freshness import FIRST_READ_S, GAP_READ_S, LIVE_POLL_S, Freshness, freshness, poll_in_s

logger = logging.getLogger(__name__)

# The pause after a read is at least this multiple of its duration: reading takes at most a tenth of the time.
READ_PAUSE_FACTOR: Final = 10.0


class Reconciler:
    """Joins a channel and calls `read` whenever it is due, one call at a time, until `close`.

    `merge` is called with each live event, and `on_error` with an error that ends the reads before `close`.
    """

    def __init__(
        self,
        read: Callable[[], Awaitable[None]],
        merge: Callable[[LiveEvent], None],
        on_error: Callable[[SmeltError], None],
        *,
        polling: bool,
        live_read_s: float = LIVE_POLL_S,
    ) -> None:
        self.read_at: float | None = None
        self._read = read
        self._merge = merge
        self._on_error = on_error
        self._polling = polling
        self._live_read_s = live_read_s
        self._topic = ""
        self._channel: Channel | None = None
        self._due_at = float("inf")
        self._read_requested = False
        self._gap_read_requested = False
        self._failures = 0
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def has_started(self) -> bool:
        """True once `start` was called."""
        return self._channel is not None

    @property
    def freshness(self) -> Freshness:
        """The reliability of live events at this moment."""
        return freshness(self._channel is not None and self._channel.joined)

    async def start(self, realtime: RealtimeConnection, topic: str, changes: Sequence[ChangesOf] = ()) -> None:
        """Join the channel and start to read."""
        if self._polling:
            self._due_at = time.monotonic() + FIRST_READ_S
        self._topic = topic
        self._channel = await realtime.join(topic, self._on_event, changes=changes)
        self._task = asyncio.create_task(self._run(), name=f"reconciler {topic}")

    async def close(self) -> None:
        """Leave the channel and stop reading."""
        if self._task is not None:
            self._task.cancel()
        try:
            if self._channel is not None:
                await self._channel.leave()
        finally:
            if self._task is not None:
                await asyncio.wait([self._task])

    def request_read(self) -> None:
        """Read as soon as possible; if a read is running, once more after it."""
        self._read_requested = True
        self._changed.set()

    def request_gap_read(self) -> None:
        """Read once more shortly after the read that calls this, also without polling."""
        self._gap_read_requested = True

    async def _run(self) -> None:
        try:
            while True:
                self._changed.clear()
                if self._read_requested or self._due_at <= time.monotonic():
                    self._read_requested = False
                    await self._read_once()
                    continue
                await wait_for_event(self._changed, self._due_at - time.monotonic())
        except SmeltError as exc:
            self._on_error(exc)
        except Exception as exc:  # No consumer may wait forever for a reconciler that has stopped.
            logger.exception("reading for %s failed", self._topic)
            self._on_error(SmeltError(f"reading for {self._topic} failed: {exc!r}"))

    async def _read_once(self) -> None:
        began_at = time.monotonic()
        try:
            await self._read()
        except TransientError as exc:
            self._failures += 1
            wait_s = 1 + reconnect_wait_s(self._failures)
            logger.info("reading for %s again in %.1f s: %s", self._topic, wait_s, exc)
            self._due_at = time.monotonic() + wait_s
            return
        self._failures = 0
        self.read_at = time.monotonic()
        pause_s = READ_PAUSE_FACTOR * (self.read_at - began_at)
        self._due_at = self._planned_at(pause_s)
        if self._gap_read_requested:
            self._gap_read_requested = False
            self._due_at = time.monotonic() + min(max(GAP_READ_S, pause_s), LIVE_POLL_S)

    def _planned_at(self, pause_s: float = 0.0) -> float:
        if not self._polling:
            return float("inf")
        live_s = self._live_read_s if self.freshness == "live" else 0.0
        return time.monotonic() + max(live_s, pause_s, poll_in_s(self.freshness, None, random.random()))

    def _on_event(self, event: ChannelEvent) -> None:
        match event:
            case Joined():
                self.request_read()
            case Suspect():
                if self._polling:
                    self.request_read()
            case Left():
                self._due_at = min(self._due_at, self._planned_at())
                self._changed.set()
            case GaveUp(error):
                if self._polling:  # Reading may still be permitted; if not, the read reports the error.
                    self.request_read()
                else:
                    self._on_error(error)
            case Broadcast() | RowChanged():
                self._merge(event)
            case _:
                assert_never(event)

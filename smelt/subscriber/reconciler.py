"""Keeps a user's channel joined and reads what it may have missed: after every join, and by freshness in between."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from smelt.backend.realtime import ChangesOf, Channel, RealtimeConnection
from smelt.backend.realtime.channel import OnChange, OnMessage
from smelt.backend.retries import reconnect_wait_s
from smelt.errors import SmeltError, TransientError
from smelt.subscriber.freshness import FIRST_READ_S, LIVE_POLL_S, Freshness, freshness, poll_in_s

logger = logging.getLogger(__name__)

# A read that takes long is repeated seldom: reading is a tenth of the time at most.
REST_FACTOR: Final = 10.0


class Reconciler:
    """Runs `read` whenever it is due, one at a time, until `close`; `on_error` is told what ends it before that."""

    def __init__(
        self,
        topic: str,
        read: Callable[[], Awaitable[None]],
        on_error: Callable[[SmeltError], None],
        *,
        polling: bool,
        live_read_s: float = LIVE_POLL_S,
    ) -> None:
        self.read_at: float | None = None
        self._topic = topic
        self._read = read
        self._on_error = on_error
        self._polling = polling
        self._live_read_s = live_read_s
        self._channel: Channel | None = None
        self._left_at: float | None = None
        self._due_at = float("inf")
        self._is_asked = False
        self._failures = 0
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def freshness(self) -> Freshness:
        """How far live events can be relied on."""
        joined = self._channel is not None and self._channel.joined
        return freshness(joined, None if self._left_at is None else time.monotonic() - self._left_at)

    async def start(
        self,
        realtime: RealtimeConnection,
        *,
        on_message: OnMessage | None = None,
        changes: Sequence[ChangesOf] = (),
        on_change: OnChange | None = None,
    ) -> None:
        """Join the channel, and read from now on."""
        if self._polling:
            self._due_at = time.monotonic() + FIRST_READ_S
        self._channel = await realtime.join(
            self._topic,
            on_message=on_message,
            on_joined=self.ask,
            on_left=self._left,
            on_doubt=self._doubt,
            changes=changes,
            on_change=on_change,
        )
        self._task = asyncio.create_task(self._run(), name=f"reconciler {self._topic}")

    async def close(self) -> None:
        """Leave the channel and read no more."""
        if self._task is not None:
            self._task.cancel()
        try:
            if self._channel is not None:
                await self._channel.leave()
        finally:
            if self._task is not None:
                await asyncio.wait([self._task])

    def ask(self) -> None:
        """Read as soon as possible; once more, if a read is under way."""
        self._is_asked = True
        self._changed.set()

    async def _run(self) -> None:
        try:
            while True:
                self._changed.clear()
                if self._is_asked or self._due_at <= time.monotonic():
                    self._is_asked = False
                    await self._read_once()
                    continue
                wait_s = self._due_at - time.monotonic()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if wait_s == float("inf") else wait_s):
                        await self._changed.wait()
        except SmeltError as exc:
            self._on_error(exc)
        except Exception as exc:  # Whatever it is, nobody shall wait for ever for what is not read any more.
            logger.exception("reading for %s broke", self._topic)
            self._on_error(SmeltError(f"reading for {self._topic} broke: {exc!r}"))

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
        self._due_at = self._planned_at(REST_FACTOR * (self.read_at - began_at))

    def _planned_at(self, rest_s: float = 0.0) -> float:
        if not self._polling:
            return float("inf")
        live_s = self._live_read_s if self.freshness == "live" else 0.0
        return time.monotonic() + max(live_s, rest_s, poll_in_s(self.freshness, None, random.random()))

    def _doubt(self) -> None:
        if self._polling:
            self.ask()

    def _left(self, error: Exception | None) -> None:
        self._left_at = time.monotonic()
        if not isinstance(error, SmeltError):
            self._due_at = min(self._due_at, self._planned_at())
            self._changed.set()
        elif self._polling:  # Reading may still be allowed; if not, that ends it.
            self.ask()
        else:
            self._on_error(error)

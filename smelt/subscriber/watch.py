"""Watching one smelt from its current state to its end."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, assert_never
from uuid import UUID

from pydantic import ValidationError

from smelt.backend.client_rpc import SeenState, State
from smelt.backend.realtime import (
    Broadcast,
    Channel,
    ChannelEvent,
    GaveUp,
    Joined,
    Left,
    RealtimeConnection,
    RowChanged,
    Suspect,
)
from smelt.contract.channels import smelt_channel
from smelt.contract.events import error_summary, parse_event
from smelt.contract.state import Unchanged
from smelt.errors import SmeltError, TransientError
from smelt.subscriber.backlog import Backlog, Item
from smelt.subscriber.diagnostics import WatchReport
from smelt.subscriber.freshness import FIRST_READ_S, GAP_READ_S, Freshness, freshness, poll_in_s
from smelt.subscriber.inbox import Inbox
from smelt.subscriber.reader import Reader
from smelt.subscriber.timeline import Timeline
from smelt.subscriber.updates import (
    Completed,
    Connected,
    ConnectionIssue,
    Disconnected,
    Failed,
    Progress,
    Segments,
    Update,
)

logger = logging.getLogger(__name__)

# A terminal event received live is emitted after this time, even if the gap before it could not be read.
END_TIMEOUT_S: Final = 5.0


class Watch:
    """Watches one smelt through events and reads; `items` and `updates` may be iterated only once."""

    def __init__(self, smelt_id: UUID, realtime: RealtimeConnection, reader: Reader, *, polling: bool) -> None:
        self.smelt_id = smelt_id
        self._realtime = realtime
        self._reader = reader
        self._polling = polling
        self._timeline = Timeline(smelt_id)
        self._backlog = Backlog()
        self._inbox: Inbox[Item] = Inbox(self._backlog.pop)
        self._channel: Channel | None = None
        self._next_poll_s: float | None = None
        self._event_at: float | None = None
        self._read_at: float | None = None
        self._joined_at: float | None = None
        self._ending_run: int | None = None
        self._end_timer: asyncio.TimerHandle | None = None
        self._refreshes: list[tuple[int, asyncio.Future[None]]] = []

    async def items(self) -> AsyncGenerator[Item, None]:
        """Yield updates and connection events in order until the smelt ends; raise a permanent error."""
        self._channel = await self._realtime.join(smelt_channel(str(self.smelt_id)), self._on_event)
        self._reader.add(self, FIRST_READ_S if self._polling else None)
        try:
            while True:
                item = await self._inbox.take()
                yield item
                if isinstance(item, Completed | Failed):
                    return
        finally:
            self._reader.remove(self)
            self._cancel_end_timer()
            await self._channel.leave()

    async def updates(self) -> AsyncGenerator[Update, None]:
        """Yield updates of the smelt, without connection events."""
        async with aclosing(self.items()) as items:
            async for item in items:
                if isinstance(item, Progress | Segments | Completed | Failed):
                    yield item

    def refresh(self) -> asyncio.Future[None]:
        """Read the state as soon as possible; the future is done once a read that begins after this call is merged."""
        refreshed = asyncio.get_running_loop().create_future()
        self._refreshes.append((self._reader.read_count, refreshed))
        self._reader.request_read(self)
        return refreshed

    def report(self) -> WatchReport:
        """Return the current state of the watch."""
        now = time.monotonic()
        progress, ended = self._timeline.progress, self._timeline.ended
        last = ended or progress
        return WatchReport(
            smelt_id=self.smelt_id,
            status=None if last is None else last.status,
            seq=None if last is None else last.seq,
            joined=self._is_joined,
            freshness=self._freshness(),
            last_event_age_s=None if self._event_at is None else now - self._event_at,
            last_read_age_s=None if self._read_at is None else now - self._read_at,
            rejoin_count=0 if self._channel is None else self._channel.rejoin_count,
        )

    @property
    def pending_count(self) -> int:
        """The number of items that were not yielded yet."""
        return len(self._backlog)

    @property
    def segments_seq(self) -> int | None:
        """The `segments_seq` up to which all segments were yielded, and none after it; None if it is unknown.

        It is unknown while items are pending, and while an event between the received ones may be missing: a
        `refresh` fills the gap.
        """
        return None if self.pending_count else self._timeline.segments_seq

    @property
    def known(self) -> SeenState:
        """The state that need not be read again."""
        return self._timeline.known

    def merge_state(self, state: State, requested: SeenState) -> None:
        """Merge a state that was read."""
        self._read_at = time.monotonic()
        self._next_poll_s = state.next_poll_s
        if isinstance(state, Unchanged):
            self._emit(*self._timeline.merge_unchanged(state))
        else:
            self._emit(*self._timeline.merge_snapshot(state, requested.segments_after or 0))
        self._update_end_timer()
        self._end_refreshes()

    def report_issue(self, error: TransientError, *, live: bool = False) -> None:
        """Emit a transient error as `ConnectionIssue`."""
        self._emit(ConnectionIssue(error, live))

    def fail(self, error: SmeltError) -> None:
        """End the watch with an error, after the items that are still in the backlog."""
        self._inbox.fail(error)

    def next_read_in_s(self) -> float | None:
        """Return the delay of the next read: short if a gap is known, by freshness if polling, otherwise None."""
        if self._timeline.needs_read:
            return GAP_READ_S
        if not self._polling:
            return None
        return poll_in_s(self._freshness(), self._next_poll_s, random.random())

    @property
    def _is_joined(self) -> bool:
        return self._channel is not None and self._channel.joined

    def _freshness(self) -> Freshness:
        progress = self._timeline.progress
        active = self._timeline.ended is None and progress is not None and progress.status != "pending"
        since = max(self._event_at or 0.0, self._joined_at or 0.0)
        return freshness(self._is_joined, time.monotonic() - since, active=active)

    def _on_event(self, event: ChannelEvent) -> None:
        match event:
            case Joined():
                self._joined_at = time.monotonic()
                self._emit(Connected())
                self._reader.request_read(self)
            case Suspect():
                if self._polling:
                    self._reader.request_read(self)
            case Left():
                self._emit(Disconnected())
                self._reader.reschedule(self)
            case GaveUp(error):
                self._on_gave_up(error)
            case Broadcast(name, payload):
                self._merge_broadcast(name, payload)
            case RowChanged():
                pass
            case _:
                assert_never(event)

    def _on_gave_up(self, error: SmeltError) -> None:
        if self._polling:  # Reading may still be permitted; if not, the read ends the watch.
            self._emit(ConnectionIssue(error, live=True))
            self._reader.request_read(self)
        else:
            self.fail(error)

    def _merge_broadcast(self, event: str, payload: object) -> None:
        try:
            parsed = parse_event(event, payload)
        except ValidationError as exc:
            logger.warning("smelt %s: a malformed %s event: %s", self.smelt_id, event, error_summary(exc))
            return
        if parsed is None or parsed.smelt_id != self.smelt_id:
            return
        self._event_at = time.monotonic()
        self._emit(*self._timeline.merge_event(parsed))
        if self._timeline.needs_read:
            self._reader.reschedule(self)
        self._update_end_timer()

    def _end_refreshes(self) -> None:
        # A read that was running when the refresh was requested may be older than the request.
        for read_count, refreshed in self._refreshes:
            if read_count < self._reader.read_count and not refreshed.done():
                refreshed.set_result(None)
        self._refreshes = [pending for pending in self._refreshes if not pending[1].done()]

    def _update_end_timer(self) -> None:
        # Each run has a timer of its own: that of an earlier run does not end the run of a retry.
        run = self._timeline.ending_run
        if run == self._ending_run:
            return
        self._ending_run = run
        self._cancel_end_timer()
        if run is not None:
            self._reader.request_read(self)
            self._end_timer = asyncio.get_running_loop().call_later(END_TIMEOUT_S, self._conclude)

    def _cancel_end_timer(self) -> None:
        if self._end_timer is not None:
            self._end_timer.cancel()

    def _conclude(self) -> None:
        self._emit(*self._timeline.conclude())

    def _emit(self, *items: Item) -> None:
        for item in items:
            self._backlog.add(item)
        if items:
            self._inbox.wake()

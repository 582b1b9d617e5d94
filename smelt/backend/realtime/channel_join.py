"""One join of a channel on one socket."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from realtime import AsyncRealtimeChannel, AsyncRealtimeClient
from realtime.types import BroadcastPayload, PostgresChangesPayload, RealtimePostgresChangesListenEvent

from smelt.backend.realtime.events import Broadcast, Joined, LiveEvent, OnEvent, RowChanged, Suspect
from smelt.backend.realtime.policy import ChannelFailed, LeaveReason

logger = logging.getLogger(__name__)

CHANGES_EXTENSION: Final = "postgres_changes"


@dataclass(frozen=True)
class ChangesOf:
    """A postgres_changes binding to a table in `public`, with an optional filter such as `user_id=eq.<id>`."""

    table: str
    filter: str | None = None


class ChannelJoin:
    """One join of a channel, from the request until it ends; the futures `joined` and `left` complete in that order.

    A channel with changes counts as joined only once the server listens to the database: earlier changes are lost.
    While joined, it delivers broadcasts, changes and `Suspect`, and `Joined` after an interruption of the changes. What
    arrives after `left` is dropped: it may be older than the rows that a subscriber reads after the next join.
    """

    def __init__(self, channel: AsyncRealtimeChannel, topic: str, on_event: OnEvent, *, with_changes: bool) -> None:
        loop = asyncio.get_running_loop()
        self.channel = channel
        self.topic = topic
        self.joined: asyncio.Future[None] = loop.create_future()
        self.left: asyncio.Future[LeaveReason] = loop.create_future()
        self.accepted = False
        self._on_event = on_event
        self._with_changes = with_changes

    @property
    def futures(self) -> list[asyncio.Future[Any]]:
        """The futures for the two outcomes of the join request."""
        return [self.joined, self.left]

    @property
    def is_joined(self) -> bool:
        """True from the server's reply to the join until the channel is left."""
        return self.joined.done() and not self.left.done()

    def accept(self, timeout_s: float) -> None:
        """Record that the server accepted the join; with changes, it must confirm them within `timeout_s`."""
        self.accepted = True
        if not self._with_changes:
            self._settle_joined()
        else:
            asyncio.get_running_loop().call_later(timeout_s, self._time_out_changes)

    def confirm_changes(self) -> None:
        """Record that the server listens to the database: for the first time, or again after a token renewal."""
        if not self.joined.done():
            self._settle_joined()
        elif not self.left.done():
            logger.info("channel %s receives changes again", self.topic)
            self._on_event(Joined())

    def mark_suspect(self) -> None:
        """Deliver `Suspect` if joined."""
        if self.is_joined:
            self._on_event(Suspect())

    def end(self, reason: LeaveReason) -> None:
        """Complete `left` with the reason; later reasons are ignored."""
        if not self.left.done():
            self.left.set_result(reason)

    def deliver_broadcast(self, payload: BroadcastPayload) -> None:
        """Deliver a broadcast unless the channel is left."""
        self._deliver(Broadcast(payload["event"], payload["payload"]))

    def deliver_change(self, payload: PostgresChangesPayload) -> None:
        """Deliver a change of a row unless the channel is left."""
        self._deliver(RowChanged(payload["data"]))

    def _deliver(self, event: LiveEvent) -> None:
        if not self.left.done():
            self._on_event(event)

    def _settle_joined(self) -> None:
        if not self.joined.done():
            self.joined.set_result(None)

    def _time_out_changes(self) -> None:
        if not self.joined.done():
            self.end(ChannelFailed("the server does not listen to the database"))


def open_channel(
    client: AsyncRealtimeClient, topic: str, on_event: OnEvent, changes: Sequence[ChangesOf], join_timeout_s: int
) -> ChannelJoin:
    """Return a join of a private channel that is not requested yet."""
    channel = client.channel(
        topic,
        {
            "config": {
                "private": True,
                "broadcast": {"ack": True, "self": False},
                "presence": {"key": "", "enabled": False},
            }
        },
    )
    channel.timeout = channel.join_push.timeout = join_timeout_s
    join = ChannelJoin(channel, topic, on_event, with_changes=bool(changes))
    for binding in changes:
        event = RealtimePostgresChangesListenEvent.All
        channel.on_postgres_changes(event, join.deliver_change, binding.table, "public", binding.filter)
    return join

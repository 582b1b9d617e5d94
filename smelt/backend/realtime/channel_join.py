"""A place in a channel of one socket."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from realtime import AsyncRealtimeChannel, AsyncRealtimeClient
from realtime.types import BroadcastPayload, PostgresChangesPayload, RealtimePostgresChangesListenEvent

from smelt.backend.realtime.policy import ChannelFailed, LeaveReason

logger = logging.getLogger(__name__)

CHANGES_EXTENSION: Final = "postgres_changes"

OnBroadcast = Callable[[str, object], None]
OnChange = Callable[[object], None]


@dataclass(frozen=True)
class ChangesOf:
    """A wish to hear of the changes of a table in `public`; `filter` as postgres_changes has it, `user_id=eq.<id>`."""

    table: str
    filter: str | None = None


@dataclass(frozen=True)
class JoinCallbacks:
    """Who hears what comes in; `on_resumed` is told when changes come again after a moment in which some got lost.

    `on_doubt` is told when nothing may come any more.
    """

    on_broadcast: OnBroadcast
    on_change: OnChange
    on_resumed: Callable[[], None]
    on_doubt: Callable[[], None]


class ChannelJoin:
    """One stay in a channel, from the join to whatever ends it; `joined` and `left` are done when it is so.

    A channel with changes counts as joined only once the database is listened to: what changes before is lost.
    """

    def __init__(self, channel: AsyncRealtimeChannel, topic: str, ears: JoinCallbacks, *, wants_changes: bool) -> None:
        loop = asyncio.get_running_loop()
        self.channel = channel
        self.topic = topic
        self.joined: asyncio.Future[None] = loop.create_future()
        self.left: asyncio.Future[LeaveReason] = loop.create_future()
        self.accepted = False
        self._ears = ears
        self._wants_changes = wants_changes

    @property
    def futures(self) -> list[asyncio.Future[Any]]:
        """What comes of the join, whichever is first."""
        return [self.joined, self.left]

    @property
    def is_joined(self) -> bool:
        """True from the server's answer to the join until the stay is over."""
        return self.joined.done() and not self.left.done()

    def accept(self, within_s: float) -> None:
        """The server has answered the join; changes have to follow within some seconds."""
        self.accepted = True
        if not self._wants_changes:
            self._settle_joined()
        else:
            asyncio.get_running_loop().call_later(within_s, self._miss_changes)

    def resume_changes(self) -> None:
        """The server listens to the database from now on: for the first time, or anew for a fresh token."""
        if not self.joined.done():
            self._settle_joined()
        elif not self.left.done():
            self._tell(self._ears.on_resumed)

    def doubt(self) -> None:
        """Nothing may come any more."""
        if self.is_joined:
            self._tell(self._ears.on_doubt)

    def end(self, left: LeaveReason) -> None:
        """Tell why the stay is over; the first reason counts."""
        if not self.left.done():
            self.left.set_result(left)

    def hear(self, payload: BroadcastPayload) -> None:
        """Pass a broadcast on."""
        self._tell(lambda: self._ears.on_broadcast(payload["event"], payload["payload"]))

    def hear_change(self, payload: PostgresChangesPayload) -> None:
        """Pass a change of a row on."""
        self._tell(lambda: self._ears.on_change(payload["data"]))

    def _settle_joined(self) -> None:
        if not self.joined.done():
            self.joined.set_result(None)

    def _miss_changes(self) -> None:
        if not self.joined.done():
            self.end(ChannelFailed("the database is not listened to"))

    def _tell(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception:  # Whatever a listener does, the socket goes on reading.
            logger.exception("a listener of %s failed", self.topic)


def open_channel(
    client: AsyncRealtimeClient, topic: str, ears: JoinCallbacks, changes: Sequence[ChangesOf], join_timeout_s: int
) -> ChannelJoin:
    """A place in a private channel that is yet to be joined."""
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
    seat = ChannelJoin(channel, topic, ears, wants_changes=bool(changes))
    for wish in changes:
        event = RealtimePostgresChangesListenEvent.All
        channel.on_postgres_changes(event, seat.hear_change, wish.table, "public", wish.filter)
    return seat

"""One join of a channel on one socket."""

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
    """A postgres_changes binding to a table in `public`, with an optional filter such as `user_id=eq.<id>`."""

    table: str
    filter: str | None = None


@dataclass(frozen=True)
class JoinCallbacks:
    """Called for incoming messages and state changes of a join.

    `on_resumed` is called when changes are delivered again after an interruption in which some may have been lost,
    `on_suspect` when the socket may be half-open.
    """

    on_broadcast: OnBroadcast
    on_change: OnChange
    on_resumed: Callable[[], None]
    on_suspect: Callable[[], None]


class ChannelJoin:
    """One join of a channel, from the request until it ends; the futures `joined` and `left` complete in that order.

    A channel with changes counts as joined only once the server listens to the database: earlier changes are lost.
    """

    def __init__(
        self, channel: AsyncRealtimeChannel, topic: str, callbacks: JoinCallbacks, *, with_changes: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        self.channel = channel
        self.topic = topic
        self.joined: asyncio.Future[None] = loop.create_future()
        self.left: asyncio.Future[LeaveReason] = loop.create_future()
        self.accepted = False
        self._callbacks = callbacks
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
            self._notify(self._callbacks.on_resumed)

    def mark_suspect(self) -> None:
        """Call `on_suspect` if joined."""
        if self.is_joined:
            self._notify(self._callbacks.on_suspect)

    def end(self, reason: LeaveReason) -> None:
        """Complete `left` with the reason; later reasons are ignored."""
        if not self.left.done():
            self.left.set_result(reason)

    def deliver_message(self, payload: BroadcastPayload) -> None:
        """Call `on_broadcast`."""
        self._notify(lambda: self._callbacks.on_broadcast(payload["event"], payload["payload"]))

    def deliver_change(self, payload: PostgresChangesPayload) -> None:
        """Call `on_change`."""
        self._notify(lambda: self._callbacks.on_change(payload["data"]))

    def _settle_joined(self) -> None:
        if not self.joined.done():
            self.joined.set_result(None)

    def _time_out_changes(self) -> None:
        if not self.joined.done():
            self.end(ChannelFailed("the server does not listen to the database"))

    def _notify(self, notify: Callable[[], None]) -> None:
        try:
            notify()
        except Exception:  # The socket keeps reading if a listener fails.
            logger.exception("a listener of %s failed", self.topic)


def open_channel(
    client: AsyncRealtimeClient, topic: str, callbacks: JoinCallbacks, changes: Sequence[ChangesOf], join_timeout_s: int
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
    join = ChannelJoin(channel, topic, callbacks, with_changes=bool(changes))
    for binding in changes:
        event = RealtimePostgresChangesListenEvent.All
        channel.on_postgres_changes(event, join.deliver_change, binding.table, "public", binding.filter)
    return join

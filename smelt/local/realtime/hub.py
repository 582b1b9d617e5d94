"""Who listens to what: sockets' channels by topic, and the way of a broadcast to all of them."""

import time
from collections.abc import Collection
from secrets import token_urlsafe
from typing import NamedTuple, Protocol

from smelt.local.realtime.presence import Metas, Roster, references
from smelt.local.realtime.protocol import TOPIC_PREFIX, Json, Outgoing, Push, Version, dump
from smelt.local.realtime.rates import EventLimit

Encoded = str | bytes


class ChannelKey(NamedTuple):
    """What makes two sockets meet: the name without `realtime:`, private and public ones apart."""

    name: str
    private: bool

    @property
    def topic(self) -> str:
        """The name on the wire."""
        return TOPIC_PREFIX + self.name


class HubMember(Protocol):
    """One joined channel of one socket."""

    @property
    def version(self) -> Version: ...

    @property
    def sees_presence(self) -> bool: ...

    def deliver(self, frame: Encoded, message_id: str | None = None) -> None:
        """Queue a frame without waiting."""

    def shut(self, reason: str) -> None:
        """Close the channel from the server's side."""


class Hub:
    """All joined channels of this server."""

    def __init__(self, limit: EventLimit) -> None:
        self._limit = limit
        self._listeners: dict[ChannelKey, dict[HubMember, None]] = {}
        self._rosters: dict[ChannelKey, Roster] = {}
        self._references = references(token_urlsafe(6))

    @property
    def listener_count(self) -> int:
        """How many channels are joined."""
        return sum(map(len, self._listeners.values()))

    @property
    def present_topics(self) -> int:
        """How many topics anybody is present on."""
        return len(self._rosters)

    def add(self, key: ChannelKey, listener: HubMember) -> None:
        """Let a channel hear what is sent to its key from now on."""
        self._listeners.setdefault(key, {})[listener] = None

    def remove(self, key: ChannelKey, listener: HubMember) -> None:
        """Let a channel hear no more; its presence leaves with it."""
        listeners = self._listeners.get(key, {})
        listeners.pop(listener, None)
        if not listeners:
            self._listeners.pop(key, None)
        self.untrack(key, listener)

    def send(
        self, key: ChannelKey, message: Outgoing, *, sender: HubMember | None = None, message_id: str | None = None
    ) -> None:
        """Queue a message for all listeners but the sender, written once for each protocol.

        Who receives one while too much is sent and delivered is closed after it.
        """
        receivers = [each for each in self._listeners.get(key, ()) if each is not sender]
        now = time.monotonic()
        self._limit.count(1 + len(receivers), now)
        _fan_out(message, receivers, message_id)
        if self._limit.exceeded(now):
            for each in receivers:
                each.shut("Too many messages per second")

    def is_over_limit(self, more: int = 0) -> bool:
        """Say whether what has been sent and delivered lately, and so many messages more, is too much."""
        return self._limit.exceeded(time.monotonic(), more)

    def presences(self, key: ChannelKey) -> dict[str, Metas]:
        """Who is present."""
        roster = self._rosters.get(key)
        return {} if roster is None else roster.state()

    def track(self, key: ChannelKey, listener: HubMember, name: str, meta: dict[str, Json]) -> None:
        """Tell all what a channel says of itself."""
        roster = self._rosters.setdefault(key, Roster(self._references))
        self._tell(key, roster.track(listener, name, meta))

    def untrack(self, key: ChannelKey, listener: HubMember) -> None:
        """Tell all that a channel is not present any more."""
        roster = self._rosters.get(key)
        if roster is None:
            return
        difference = roster.untrack(listener)
        if not roster:
            del self._rosters[key]
        if difference is not None:
            self._tell(key, difference)

    def _tell(self, key: ChannelKey, difference: Json) -> None:
        watching = [each for each in self._listeners.get(key, {}) if each.sees_presence]
        _fan_out(Push(key.topic, "presence_diff", dump(difference)), watching)


def _fan_out(message: Outgoing, listeners: Collection[HubMember], message_id: str | None = None) -> None:
    encoded: dict[Version, Encoded | None] = {}
    for listener in listeners:
        version = listener.version
        if version not in encoded:
            encoded[version] = message.encode(version)
        if (frame := encoded[version]) is not None:
            listener.deliver(frame, message_id)

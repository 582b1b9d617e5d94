"""Delivers broadcasts and presence to the joined channels of a topic."""

import time
from collections.abc import Collection
from secrets import token_urlsafe
from typing import NamedTuple, Protocol

from smelt.local.realtime.presence import Metas, Roster, references
from smelt.local.realtime.protocol import TOPIC_PREFIX, Json, Outgoing, Push, Version, dump
from smelt.local.realtime.rates import EventLimit

Encoded = str | bytes


class ChannelKey(NamedTuple):
    """Identifies a channel across sockets: its name without `realtime:`, and whether it is private."""

    name: str
    private: bool

    @property
    def topic(self) -> str:
        """The topic on the wire."""
        return TOPIC_PREFIX + self.name


class HubMember(Protocol):
    """A joined channel of a socket."""

    @property
    def version(self) -> Version: ...

    @property
    def sees_presence(self) -> bool: ...

    def deliver(self, frame: Encoded, message_id: str | None = None) -> None:
        """Queue a frame without waiting."""

    def close(self, reason: str) -> None:
        """Close the channel from the server."""


class Hub:
    """All joined channels of the server."""

    def __init__(self, limit: EventLimit) -> None:
        self._limit = limit
        self._members: dict[ChannelKey, dict[HubMember, None]] = {}
        self._rosters: dict[ChannelKey, Roster] = {}
        self._references = references(token_urlsafe(6))

    @property
    def member_count(self) -> int:
        """The number of joined channels."""
        return sum(map(len, self._members.values()))

    @property
    def present_topics(self) -> int:
        """The number of topics with presences."""
        return len(self._rosters)

    def add(self, key: ChannelKey, member: HubMember) -> None:
        """Add a channel; it receives messages to its key from now on."""
        self._members.setdefault(key, {})[member] = None

    def remove(self, key: ChannelKey, member: HubMember) -> None:
        """Remove a channel and its presence."""
        members = self._members.get(key, {})
        members.pop(member, None)
        if not members:
            self._members.pop(key, None)
        self.untrack(key, member)

    def send(
        self, key: ChannelKey, message: Outgoing, *, sender: HubMember | None = None, message_id: str | None = None
    ) -> None:
        """Queue a message for all members but the sender, encoded once per protocol version.

        If the rate of messages exceeds the limit, the receivers are closed after this message.
        """
        receivers = [member for member in self._members.get(key, ()) if member is not sender]
        now = time.monotonic()
        self._limit.count(1 + len(receivers), now)
        _fan_out(message, receivers, message_id)
        if self._limit.exceeded(now):
            for receiver in receivers:
                receiver.close("Too many messages per second")

    def is_over_limit(self, more: int = 0) -> bool:
        """Return True if the rate of messages, plus `more`, exceeds the limit."""
        return self._limit.exceeded(time.monotonic(), more)

    def presences(self, key: ChannelKey) -> dict[str, Metas]:
        """Return the presences of a channel."""
        roster = self._rosters.get(key)
        return {} if roster is None else roster.state()

    def track(self, key: ChannelKey, member: HubMember, name: str, meta: dict[str, Json]) -> None:
        """Set the presence of a channel and notify the members."""
        roster = self._rosters.setdefault(key, Roster(self._references))
        self._send_difference(key, roster.track(member, name, meta))

    def untrack(self, key: ChannelKey, member: HubMember) -> None:
        """Remove the presence of a channel and notify the members."""
        roster = self._rosters.get(key)
        if roster is None:
            return
        difference = roster.untrack(member)
        if not roster:
            del self._rosters[key]
        if difference is not None:
            self._send_difference(key, difference)

    def _send_difference(self, key: ChannelKey, difference: Json) -> None:
        receivers = [member for member in self._members.get(key, {}) if member.sees_presence]
        _fan_out(Push(key.topic, "presence_diff", dump(difference)), receivers)


def _fan_out(message: Outgoing, members: Collection[HubMember], message_id: str | None = None) -> None:
    encoded: dict[Version, Encoded | None] = {}
    for member in members:
        version = member.version
        if version not in encoded:
            encoded[version] = message.encode(version)
        if (frame := encoded[version]) is not None:
            member.deliver(frame, message_id)

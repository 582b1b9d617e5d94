"""One joined channel of one socket: what it was joined with, what was decided for it, and how it is told things."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from smelt.local.realtime.authorization import Extension
from smelt.local.realtime.frames import system
from smelt.local.realtime.hub import ChannelKey, Encoded
from smelt.local.realtime.join import JoinRequest
from smelt.local.realtime.presence import CallLimit
from smelt.local.realtime.protocol import Json, Outgoing, Push, UserBroadcast, Version, dump
from smelt.local.realtime.tokens import Token


class Sink(Protocol):
    """Where a channel's frames go."""

    def put(self, frame: Encoded) -> None:
        """Queue a frame without waiting."""


@dataclass(eq=False, slots=True)
class JoinedChannel:
    """The state of a joined channel; `readable` and `writable` are what policies allowed, until a new token comes.

    `join_ref` is the client's, which closing refers to; `reply_ref`, which replies carry, is the join's own reference
    where the client gave none. `tracked` is what it says of itself, as JSON text with sorted keys.
    """

    key: ChannelKey
    version: Version
    sink: Sink
    request: JoinRequest
    token: Token
    join_ref: Json
    reply_ref: Json
    presence_key: str
    presence_calls: CallLimit
    readable: frozenset[str]
    on_shut: Callable[["JoinedChannel"], None]
    writable: dict[Extension, bool] = field(default_factory=dict)
    tracks: bool = False
    tracked: str | None = None
    replayed: list[tuple[str, Push | UserBroadcast]] = field(default_factory=list)
    replayed_ids: frozenset[str] = frozenset()
    withheld: list[tuple[Encoded, str | None]] | None = None
    closed: bool = False

    @property
    def topic(self) -> str:
        """The name on the wire."""
        return self.key.topic

    @property
    def legacy(self) -> bool:
        """Whether changes come as events of their own."""
        return self.request.legacy

    @property
    def sees_presence(self) -> bool:
        """Whether it hears who comes and goes."""
        return (self.request.presence_enabled or self.tracks) and "presence" in self.readable

    def deliver(self, frame: Encoded, message_id: str | None = None) -> None:
        """Queue what was sent to all of the topic, unless it was replayed; withheld while that is being read."""
        if self.withheld is not None:
            self.withheld.append((frame, message_id))
        elif message_id is None or message_id not in self.replayed_ids:
            self.sink.put(frame)

    def release(self) -> None:
        """Send the older messages, then what was withheld, and withhold no more."""
        replayed, self.replayed = self.replayed, []
        self.replayed_ids = frozenset(message_id for message_id, _ in replayed)
        for _, message in replayed:
            self.push(message)
        withheld, self.withheld = self.withheld or [], None
        for frame, message_id in withheld:
            self.deliver(frame, message_id)

    def closing(self) -> Push:
        """What tells that the channel is closed."""
        return Push(self.topic, "phx_close", "{}", ref=self.join_ref, join_ref=self.join_ref)

    def push(self, message: Outgoing) -> None:
        """Queue a message to this channel alone."""
        encoded = message.encode(self.version)
        if encoded is not None and not self.closed:
            self.sink.put(encoded)

    def reply(self, ref: Json, response: Json, *, status: str = "ok") -> None:
        """Answer a message of the client."""
        payload = dump({"status": status, "response": response})
        self.push(Push(self.topic, "phx_reply", payload, ref=ref, join_ref=self.reply_ref))

    def system(self, message: str, *, status: str = "error", extension: str = "system") -> None:
        """Tell what the server did or could not do."""
        self.push(system(self.key.name, self.reply_ref, message, status=status, extension=extension))

    def shut(self, reason: str) -> None:
        """Close the channel from the server's side, and say why."""
        self.system(reason)
        self.push_close()
        self.on_shut(self)

    def crash(self) -> None:
        """Close the channel as one that came upon what nobody expects; clients join again."""
        self.push(Push(self.topic, "phx_error", "{}", ref=self.join_ref, join_ref=self.join_ref))
        self.on_shut(self)

    def push_close(self) -> None:
        """Tell that the channel is closed, and nothing after that."""
        self.push(self.closing())
        self.closed = True

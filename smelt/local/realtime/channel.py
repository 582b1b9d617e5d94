"""A joined channel of a socket: its settings, its permissions, and the messages to it."""

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
    """The receiver of a channel's frames."""

    def put(self, frame: Encoded) -> None:
        """Queue a frame without waiting."""


@dataclass(eq=False, slots=True)
class JoinedChannel:
    """The state of a joined channel; `readable` and `writable` cache the policies' results until the token changes.

    `join_ref` is the client's, which `phx_close` carries. Replies carry `reply_ref`: the `join_ref`, or without one the
    `ref` of the join. `tracked` is the presence that the client sent, as JSON text with sorted keys.
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
    on_close: Callable[["JoinedChannel"], None]
    writable: dict[Extension, bool] = field(default_factory=dict)
    tracks: bool = False
    tracked: str | None = None
    replayed: list[tuple[str, Push | UserBroadcast]] = field(default_factory=list)
    replayed_ids: frozenset[str] = frozenset()
    withheld: list[tuple[Encoded, str | None]] | None = None
    closed: bool = False

    @property
    def topic(self) -> str:
        """The topic on the wire."""
        return self.key.topic

    @property
    def legacy(self) -> bool:
        """True if changes are sent as events named after their action."""
        return self.request.legacy

    @property
    def sees_presence(self) -> bool:
        """True if the channel receives presence events."""
        return (self.request.presence_enabled or self.tracks) and "presence" in self.readable

    def deliver(self, frame: Encoded, message_id: str | None = None) -> None:
        """Queue a message to the topic unless it was replayed; withhold it while the replay is being read."""
        if self.withheld is not None:
            self.withheld.append((frame, message_id))
        elif message_id is None or message_id not in self.replayed_ids:
            self.sink.put(frame)

    def release(self) -> None:
        """Send the replayed and then the withheld messages, and stop withholding."""
        replayed, self.replayed = self.replayed, []
        self.replayed_ids = frozenset(message_id for message_id, _ in replayed)
        for _, message in replayed:
            self.push(message)
        withheld, self.withheld = self.withheld or [], None
        for frame, message_id in withheld:
            self.deliver(frame, message_id)

    def close_frame(self) -> Push:
        """Return the frame that closes the channel."""
        return Push(self.topic, "phx_close", "{}", ref=self.join_ref, join_ref=self.join_ref)

    def push(self, message: Outgoing) -> None:
        """Queue a message to this channel only."""
        encoded = message.encode(self.version)
        if encoded is not None and not self.closed:
            self.sink.put(encoded)

    def reply(self, ref: Json, response: Json, *, status: str = "ok") -> None:
        """Reply to a message of the client."""
        payload = dump({"status": status, "response": response})
        self.push(Push(self.topic, "phx_reply", payload, ref=ref, join_ref=self.reply_ref))

    def system(self, message: str, *, status: str = "error", extension: str = "system") -> None:
        """Send a system event about a success or an error."""
        self.push(system(self.key.name, self.reply_ref, message, status=status, extension=extension))

    def close(self, reason: str) -> None:
        """Close the channel from the server, with a system event that has the reason."""
        self.system(reason)
        self.push_close()
        self.on_close(self)

    def crash(self) -> None:
        """Close the channel with `phx_error`, as after an unexpected error; clients rejoin."""
        self.push(Push(self.topic, "phx_error", "{}", ref=self.join_ref, join_ref=self.join_ref))
        self.on_close(self)

    def push_close(self) -> None:
        """Send `phx_close`, and nothing after it."""
        self.push(self.close_frame())
        self.closed = True

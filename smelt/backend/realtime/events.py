"""The events of a channel: one union, delivered to one function for each listener, in order."""

from collections.abc import Callable
from dataclasses import dataclass

from smelt.errors import SmeltError


@dataclass(frozen=True)
class Joined:
    """The channel is joined: for the first time, again, or after an interruption in which changes may be lost."""


@dataclass(frozen=True)
class Suspect:
    """The channel is joined, but its socket may be half-open."""


@dataclass(frozen=True)
class Left:
    """The channel was left; it rejoins or gives up."""


@dataclass(frozen=True)
class GaveUp:
    """The channel does not rejoin: the server rejects it permanently."""

    error: SmeltError


@dataclass(frozen=True)
class Broadcast:
    """A broadcast was received."""

    event: str
    payload: object


@dataclass(frozen=True)
class RowChanged:
    """A change of a row was received."""

    change: object


LiveEvent = Broadcast | RowChanged
ChannelEvent = Joined | Suspect | Left | GaveUp | LiveEvent
OnEvent = Callable[[ChannelEvent], None]

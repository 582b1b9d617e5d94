"""A topic as one listener sees it; all listeners of a topic share one place on one socket."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from smelt.backend.realtime.supervised_channel import ChannelListener, SupervisedChannel
from smelt.errors import SmeltError

OnMessage = Callable[[str, object], None]
OnChange = Callable[[object], None]
OnJoined = Callable[[], None]
OnSuspect = Callable[[], None]
OnLeft = Callable[[Exception | None], None]
Leave = Callable[[SupervisedChannel, ChannelListener], Awaitable[None]]


@dataclass(frozen=True)
class ChannelCallbacks:
    """Called on the event loop, and expected to return at once.

    `on_left` hears None when the channel is being joined again, and an error when it never will.
    """

    on_message: OnMessage | None = None
    on_joined: OnJoined | None = None
    on_left: OnLeft | None = None
    on_doubt: OnSuspect | None = None
    on_change: OnChange | None = None


class Channel:
    """A private channel that is joined, and joined again, until `leave` or until it is refused for good."""

    def __init__(self, membership: SupervisedChannel, callbacks: ChannelCallbacks, leave: Leave) -> None:
        self.topic = membership.topic
        self._membership = membership
        self._callbacks = callbacks
        self._leave = leave
        membership.add(self)

    @property
    def joined(self) -> bool:
        """True while the server has it joined, as far as is known."""
        return self._membership.joined

    @property
    def error(self) -> SmeltError | None:
        """Why it will not be joined again, None as long as it may be."""
        return self._membership.error

    @property
    def rejoin_count(self) -> int:
        """How often it was joined after the first time."""
        return max(0, self._membership.rejoin_count)

    async def wait_joined(self, timeout_s: float) -> bool:
        """Wait until it is joined; false after the timeout, or at once when it is refused for good."""
        return await self._membership.wait_joined(timeout_s)

    async def send(self, event: str, payload: dict[str, Any], *, timeout_s: float = 5.0) -> bool:
        """Broadcast; true only when the server acknowledged it, false at once when not joined."""
        return await self._membership.send(event, payload, timeout_s=timeout_s)

    async def leave(self) -> None:
        """Leave the channel; no callback comes afterwards. The last one to leave frees its place."""
        await self._leave(self._membership, self)

    def hear(self, event: str, payload: object) -> None:
        """Pass a broadcast on."""
        if self._callbacks.on_message is not None:
            self._callbacks.on_message(event, payload)

    def hear_change(self, change: object) -> None:
        """Pass a changed row on."""
        if self._callbacks.on_change is not None:
            self._callbacks.on_change(change)

    def hear_joined(self) -> None:
        """Pass on that it is joined."""
        if self._callbacks.on_joined is not None:
            self._callbacks.on_joined()

    def hear_doubt(self) -> None:
        """Pass on that nothing may come any more."""
        if self._callbacks.on_doubt is not None:
            self._callbacks.on_doubt()

    def hear_left(self, error: SmeltError | None) -> None:
        """Pass on that it is not joined (any more)."""
        if self._callbacks.on_left is not None:
            self._callbacks.on_left(error)

"""The channel of one listener. All listeners of a topic share one `SupervisedChannel`."""

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
    """Called on the event loop; they must return at once.

    `on_left` is called with None if the channel rejoins, and with an error if it has given up.
    """

    on_message: OnMessage | None = None
    on_joined: OnJoined | None = None
    on_left: OnLeft | None = None
    on_suspect: OnSuspect | None = None
    on_change: OnChange | None = None


class Channel:
    """A private channel that stays joined until `leave`, or until the server rejects it permanently."""

    def __init__(self, supervised: SupervisedChannel, callbacks: ChannelCallbacks, leave: Leave) -> None:
        self.topic = supervised.topic
        self._supervised = supervised
        self._callbacks = callbacks
        self._leave = leave
        supervised.add(self)

    @property
    def joined(self) -> bool:
        """True while the channel is joined, as far as is known."""
        return self._supervised.joined

    @property
    def error(self) -> SmeltError | None:
        """The error for which the channel gave up; None while it is joined or rejoining."""
        return self._supervised.error

    @property
    def rejoin_count(self) -> int:
        """The number of joins after the first one."""
        return max(0, self._supervised.rejoin_count)

    async def wait_joined(self, timeout_s: float) -> bool:
        """Wait until the channel is joined; return False after the timeout, or at once if it has given up."""
        return await self._supervised.wait_joined(timeout_s)

    async def send(self, event: str, payload: dict[str, Any], *, timeout_s: float = 5.0) -> bool:
        """Broadcast an event; return True if the server acknowledged it, False at once if not joined."""
        return await self._supervised.send(event, payload, timeout_s=timeout_s)

    async def leave(self) -> None:
        """Leave the channel; no callback is called afterwards. The last listener of a topic leaves on the server."""
        await self._leave(self._supervised, self)

    def deliver_message(self, event: str, payload: object) -> None:
        """Call `on_message`."""
        if self._callbacks.on_message is not None:
            self._callbacks.on_message(event, payload)

    def deliver_change(self, change: object) -> None:
        """Call `on_change`."""
        if self._callbacks.on_change is not None:
            self._callbacks.on_change(change)

    def notify_joined(self) -> None:
        """Call `on_joined`."""
        if self._callbacks.on_joined is not None:
            self._callbacks.on_joined()

    def notify_suspect(self) -> None:
        """Call `on_suspect`."""
        if self._callbacks.on_suspect is not None:
            self._callbacks.on_suspect()

    def notify_left(self, error: SmeltError | None) -> None:
        """Call `on_left`."""
        if self._callbacks.on_left is not None:
            self._callbacks.on_left(error)

"""A channel that stays joined across sockets. All listeners of a topic share one `SupervisedChannel`."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any, Protocol, assert_never

from smelt.backend.realtime.channel_join import ChangesOf, ChannelJoin
from smelt.backend.realtime.events import ChannelEvent, GaveUp, Joined, Left, OnEvent
from smelt.backend.realtime.policy import (
    GiveUp,
    LeaveReason,
    NextAction,
    RealtimeTimings,
    Rejoin,
    RenewToken,
    SocketLost,
    after_leaving,
)
from smelt.backend.realtime.socket import Socket, quiet_client_logs
from smelt.backend.retries import pause, reconnect_wait_s
from smelt.backend.waiting import wait_for_event
from smelt.errors import SmeltError, TransientError

logger = logging.getLogger(__name__)


class Sockets(Protocol):
    """Provides sockets to supervised channels."""

    @property
    def renewable(self) -> bool:
        """True if the token can be renewed."""
        ...

    async def socket_for(self, topic: str) -> Socket:
        """Return an open socket that can join the topic; wait for one. Raise `Unauthorized` if the key is rejected."""
        ...

    async def renew_token(self, stale: str | None) -> None:
        """Send a token other than `stale` on all sockets; raise `Unavailable` or `Unauthorized` without one."""
        ...

    def on_channel_lost(self, channel: "SupervisedChannel") -> None:
        """Record that a channel lost its socket and rejoins on another one."""
        ...

    def on_channel_joined(self, channel: "SupervisedChannel") -> None:
        """Record that a channel is joined."""
        ...

    def forget_channel(self, channel: "SupervisedChannel") -> None:
        """Remove a channel that has ended."""
        ...


class SupervisedChannel:
    """Joins a private channel and keeps rejoining it until `end`, or until the server rejects it permanently."""

    def __init__(
        self, topic: str, sockets: Sockets, timings: RealtimeTimings, changes: Sequence[ChangesOf] = ()
    ) -> None:
        self.topic = topic
        self.changes = tuple(changes)
        self.error: SmeltError | None = None
        self.rejoin_count = -1
        self._listeners: list[Channel] = []
        self._sockets = sockets
        self._timings = timings
        self._socket: Socket | None = None
        self._join: ChannelJoin | None = None
        self._failures = 0
        self._token: str | None = None
        self._token_is_fresh = False
        self._level = logging.INFO
        self._settled = asyncio.Event()
        self._task = asyncio.create_task(self._keep_joined(), name=f"channel {topic}")
        self._task.add_done_callback(lambda _: sockets.forget_channel(self))

    @property
    def joined(self) -> bool:
        """True while the channel is joined, as far as is known."""
        return self._join is not None and self._join.is_joined

    async def wait_joined(self, timeout_s: float) -> bool:
        """Wait until the channel is joined; return False after the timeout, or at once if it has given up."""
        await wait_for_event(self._settled, timeout_s)
        return self.joined

    async def send(self, event: str, payload: dict[str, Any], *, timeout_s: float = 5.0) -> bool:
        """Broadcast an event; return True if the server acknowledged it, False at once if not joined."""
        if self._socket is None or self._join is None:
            return False
        with quiet_client_logs():
            return await self._socket.send(self._join, event, payload, timeout_s)

    def add(self, listener: "Channel") -> None:
        """Add a listener; if the channel is already joined, it receives `Joined` next."""
        self._listeners.append(listener)
        if self._settled.is_set():
            asyncio.get_running_loop().call_soon(self._deliver_late_join, listener)

    async def remove(self, listener: "Channel") -> None:
        """Remove a listener; the last one leaves the channel on the server."""
        if listener in self._listeners:
            self._listeners.remove(listener)
        if not self._listeners:
            self._sockets.forget_channel(self)
            await asyncio.wait([self.end()])

    def end(self) -> asyncio.Task[None]:
        """Start to leave the channel; return the task that completes once it is left."""
        self._task.cancel()
        return self._task

    async def _keep_joined(self) -> None:
        with quiet_client_logs():
            while self.error is None:
                await self._join_and_recover()

    async def _join_and_recover(self) -> None:
        try:
            left = await self._join_once()
            await self._recover(after_leaving(left, can_renew=self._can_renew()))
        except SmeltError as exc:
            self._give_up(exc)
        except Exception:  # An unexpected error, perhaps of the client library, must not stop the channel silently.
            logger.exception("channel %s failed; joining again", self.topic)
            self._failures += 1
            await pause(reconnect_wait_s(self._failures))

    async def _join_once(self) -> LeaveReason:
        socket = await self._sockets.socket_for(self.topic)
        join = socket.join_channel(self.topic, self._deliver, self.changes)
        self._token = socket.token
        self._socket, self._join = socket, join
        joined_at: float | None = None
        try:
            await asyncio.wait(join.futures, return_when=asyncio.FIRST_COMPLETED)
            if join.joined.done():
                joined_at = time.monotonic()
                self._on_joined()
            left = await asyncio.shield(join.left)
        finally:
            self._socket = self._join = None
            self._settled.clear()
            socket.leave_channel(join)
        stable = joined_at is not None and time.monotonic() - joined_at >= self._timings.stable_s
        if not isinstance(left, SocketLost):  # The connection backs off for lost sockets.
            self._failures = 1 if stable else self._failures + 1
        if joined_at is not None:
            # The connection logs a lost socket once, for all of its channels.
            self._level = logging.DEBUG if isinstance(left, SocketLost) else logging.INFO
            if isinstance(left, SocketLost):
                self._sockets.on_channel_lost(self)
            logger.log(self._level, "left channel %s: %s", self.topic, left)
            self._deliver(Left())
        return left

    async def _recover(self, following: NextAction) -> None:
        match following:
            case Rejoin("now"):
                pass
            case Rejoin(wait):
                base_s = self._timings.rate_limit_delay_s if wait == "rate_limit" else 0.0
                await pause(base_s + reconnect_wait_s(self._failures))
            case RenewToken():
                await self._renew()
            case GiveUp(error):
                raise error
            case _:
                assert_never(following)

    def _can_renew(self) -> bool:
        return self._sockets.renewable and not self._token_is_fresh

    async def _renew(self) -> None:
        if self._failures > 1:  # Back off if a freshly renewed token is rejected as well.
            await pause(reconnect_wait_s(self._failures))
        # Without a fresh token the join would be rejected again, and a rejection delays all channels of a socket.
        while not self._token_is_fresh:
            try:
                await self._sockets.renew_token(self._token)
                self._token_is_fresh = True
            except TransientError as exc:
                logger.warning("channel %s waits for a fresh token: %s", self.topic, exc)
                await pause(reconnect_wait_s(self._failures))
                self._failures += 1

    def _on_joined(self) -> None:
        self._token_is_fresh = False
        self.rejoin_count += 1
        self._settled.set()
        logger.log(self._level, "joined channel %s", self.topic)
        self._sockets.on_channel_joined(self)
        self._deliver(Joined())

    def _give_up(self, error: SmeltError) -> None:
        logger.warning("channel %s is rejected: %s", self.topic, error)
        self.error = error
        self._settled.set()
        self._deliver(GaveUp(error))

    def _deliver(self, event: ChannelEvent) -> None:
        for listener in list(self._listeners):
            listener.deliver(event)

    def _deliver_late_join(self, listener: "Channel") -> None:
        if self._settled.is_set() and self.error is None and listener in self._listeners:
            listener.deliver(Joined())


class Channel:
    """A private channel for one listener: joined until `leave`, or until the server rejects it permanently."""

    def __init__(self, supervised: SupervisedChannel, on_event: OnEvent | None) -> None:
        self.topic = supervised.topic
        self._supervised = supervised
        self._on_event = on_event
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
        """Leave the channel; no event is delivered afterwards. The last listener of a topic leaves on the server."""
        await self._supervised.remove(self)

    def deliver(self, event: ChannelEvent) -> None:
        """Deliver an event to the listener."""
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:  # The socket keeps reading, and the other listeners receive the event.
            logger.exception("a listener of %s failed", self.topic)

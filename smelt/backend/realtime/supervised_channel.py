"""A topic that stays joined, whatever happens to the sockets under it, for all who listen to it."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol, assert_never

from smelt.backend.realtime.channel_join import ChangesOf, ChannelJoin, JoinCallbacks
from smelt.backend.realtime.policy import (
    GiveUp,
    LeaveReason,
    Next,
    RealtimeTimings,
    Rejoin,
    Renew,
    SocketLost,
    after_leaving,
)
from smelt.backend.realtime.quiet_client_logs import quiet_client_logs
from smelt.backend.realtime.socket import Socket
from smelt.backend.retries import pause, reconnect_wait_s
from smelt.errors import SmeltError, TransientError

logger = logging.getLogger(__name__)


class ChannelListener(Protocol):
    """Whom a membership tells; expected to return at once."""

    def hear(self, event: str, payload: object) -> None:
        """Hear a broadcast."""
        ...

    def hear_change(self, change: object) -> None:
        """Hear of a changed row."""
        ...

    def hear_joined(self) -> None:
        """Hear that the channel is joined, again or for the first time."""
        ...

    def hear_doubt(self) -> None:
        """Hear that it is joined as far as is known, and yet nothing may come any more."""
        ...

    def hear_left(self, error: SmeltError | None) -> None:
        """Hear that it is not: None when it is being joined again, an error when it never will."""
        ...


class Sockets(Protocol):
    """Where a membership gets its sockets from."""

    @property
    def renewable(self) -> bool:
        """True when a fresh token can be had."""
        ...

    async def socket_for(self, topic: str) -> Socket:
        """An open socket that takes the topic, however long it takes; raises `Unauthorized` when the key is refused."""
        ...

    async def renew_token(self, stale: str | None) -> None:
        """Get a token other than `stale` and give it to all sockets; raises `Unavailable` or `Unauthorized`."""
        ...

    def lost(self, membership: "SupervisedChannel") -> None:
        """The membership lost its socket and is on its way to another one."""
        ...

    def regained(self, membership: "SupervisedChannel") -> None:
        """The membership is joined, for the first time or again."""
        ...

    def forget(self, membership: "SupervisedChannel") -> None:
        """The membership is over."""
        ...


class SupervisedChannel:
    """Joins a private channel, and joins it again, until `end` or until it is refused for good."""

    def __init__(self, topic: str, sockets: Sockets, pace: RealtimeTimings, changes: Sequence[ChangesOf] = ()) -> None:
        self.topic = topic
        self.changes = tuple(changes)
        self.error: SmeltError | None = None
        self.rejoin_count = -1
        self._listeners: list[ChannelListener] = []
        self._sockets = sockets
        self._pace = pace
        self._socket: Socket | None = None
        self._seat: ChannelJoin | None = None
        self._failures = 0
        self._token: str | None = None
        self._token_is_fresh = False
        self._level = logging.INFO
        self._settled = asyncio.Event()
        self._task = asyncio.create_task(self._keep_joined(), name=f"channel {topic}")
        self._task.add_done_callback(lambda _: sockets.forget(self))

    @property
    def joined(self) -> bool:
        """True while the server has it joined, as far as is known."""
        return self._seat is not None and self._seat.is_joined

    async def wait_joined(self, timeout_s: float) -> bool:
        """Wait until it is joined; false after the timeout, or at once when it is refused for good."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._settled.wait()
        return self.joined

    async def send(self, event: str, payload: dict[str, Any], *, timeout_s: float = 5.0) -> bool:
        """Broadcast; true only when the server acknowledged it, false at once when not joined."""
        if self._socket is None or self._seat is None:
            return False
        with quiet_client_logs():
            return await self._socket.send(self._seat, event, payload, timeout_s)

    def add(self, listener: ChannelListener) -> None:
        """Tell a listener from now on; one that comes late hears of the join at once."""
        self._listeners.append(listener)
        if self._settled.is_set():
            asyncio.get_running_loop().call_soon(self._tell_late, listener)

    def remove(self, listener: ChannelListener) -> bool:
        """Tell a listener nothing any more; true when nobody is left."""
        if listener in self._listeners:
            self._listeners.remove(listener)
        return not self._listeners

    def end(self) -> asyncio.Task[None]:
        """Leave the channel and free its place; answers what is done when that is so."""
        self._task.cancel()
        return self._task

    async def _keep_joined(self) -> None:
        with quiet_client_logs():
            while self.error is None:
                await self._join_again()

    async def _join_again(self) -> None:
        try:
            left = await self._stay_once()
            await self._recover(after_leaving(left, can_renew=self._can_renew()))
        except SmeltError as exc:
            self._give_up(exc)
        except Exception:  # A surprise, of the client library perhaps, must not end it without a word.
            logger.exception("channel %s broke; joining again", self.topic)
            self._failures += 1
            await pause(reconnect_wait_s(self._failures))

    async def _stay_once(self) -> LeaveReason:
        socket = await self._sockets.socket_for(self.topic)
        ears = JoinCallbacks(self._hear, self._hear_change, self._resumed, self._doubted)
        seat = socket.join_channel(self.topic, ears, self.changes)
        self._token = socket.token
        self._socket, self._seat = socket, seat
        joined_at: float | None = None
        try:
            await asyncio.wait(seat.futures, return_when=asyncio.FIRST_COMPLETED)
            if seat.joined.done():
                joined_at = time.monotonic()
                self._tell_joined()
            left = await asyncio.shield(seat.left)
        finally:
            self._socket = self._seat = None
            self._settled.clear()
            socket.leave_channel(seat)
        stable = joined_at is not None and time.monotonic() - joined_at >= self._pace.stable_s
        if not isinstance(left, SocketLost):  # Those are failures of the connection, which waits before it dials again.
            self._failures = 1 if stable else self._failures + 1
        if joined_at is not None:
            # What concerns all channels of a socket is told once, by whoever has the sockets.
            self._level = logging.DEBUG if isinstance(left, SocketLost) else logging.INFO
            if isinstance(left, SocketLost):
                self._sockets.lost(self)
            logger.log(self._level, "left channel %s: %s", self.topic, left)
            self._tell(lambda listener: listener.hear_left(None))
        return left

    async def _recover(self, following: Next) -> None:
        match following:
            case Rejoin("now"):
                pass
            case Rejoin(wait):
                base_s = self._pace.rate_limit_wait_s if wait == "rate_limit" else 0.0
                await pause(base_s + reconnect_wait_s(self._failures))
            case Renew():
                await self._renew()
            case GiveUp(error):
                raise error
            case _:
                assert_never(following)

    def _can_renew(self) -> bool:
        return self._sockets.renewable and not self._token_is_fresh

    async def _renew(self) -> None:
        if self._failures > 1:  # A token that is turned down as soon as it was taken is not renewed in a circle.
            await pause(reconnect_wait_s(self._failures))
        # Joining without a fresh token would be refused again, and a refusal holds up all channels of a socket.
        while not self._token_is_fresh:
            try:
                await self._sockets.renew_token(self._token)
                self._token_is_fresh = True
            except TransientError as exc:
                logger.warning("channel %s waits for a fresh token: %s", self.topic, exc)
                await pause(reconnect_wait_s(self._failures))
                self._failures += 1

    def _hear(self, event: str, payload: object) -> None:
        self._tell(lambda listener: listener.hear(event, payload))

    def _hear_change(self, change: object) -> None:
        self._tell(lambda listener: listener.hear_change(change))

    def _resumed(self) -> None:
        logger.info("channel %s hears of changes again", self.topic)
        self._tell(lambda listener: listener.hear_joined())

    def _doubted(self) -> None:
        self._tell(lambda listener: listener.hear_doubt())

    def _tell_joined(self) -> None:
        self._token_is_fresh = False
        self.rejoin_count += 1
        self._settled.set()
        logger.log(self._level, "joined channel %s", self.topic)
        self._sockets.regained(self)
        self._tell(lambda listener: listener.hear_joined())

    def _tell_late(self, listener: ChannelListener) -> None:
        if self._settled.is_set() and self.error is None and listener in self._listeners:
            self._tell_one(listener, lambda one: one.hear_joined())

    def _give_up(self, error: SmeltError) -> None:
        logger.warning("channel %s is refused: %s", self.topic, error)
        self.error = error
        self._settled.set()
        self._tell(lambda listener: listener.hear_left(error))

    def _tell(self, tell: Callable[[ChannelListener], None]) -> None:
        for listener in list(self._listeners):
            self._tell_one(listener, tell)

    def _tell_one(self, listener: ChannelListener, tell: Callable[[ChannelListener], None]) -> None:
        try:
            tell(listener)
        except Exception:  # Whatever one listener does, the others hear it too.
            logger.exception("a listener of %s failed", self.topic)

"""The supervised connection of a project to Realtime: as many sockets as its channels need, for as long as they do."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from smelt.backend.pool import Pool
from smelt.backend.realtime.channel import Channel, ChannelCallbacks, OnChange, OnJoined, OnLeft, OnMessage, OnSuspect
from smelt.backend.realtime.channel_join import ChangesOf
from smelt.backend.realtime.policy import Backoff, RealtimeTimings
from smelt.backend.realtime.rest_broadcast import broadcast_over_rest
from smelt.backend.realtime.socket import Socket
from smelt.backend.realtime.supervised_channel import ChannelListener, SupervisedChannel
from smelt.backend.retries import pause, reconnect_wait_s
from smelt.backend.tokens import TokenSource
from smelt.errors import SmeltError, TransientError, Unauthorized

logger = logging.getLogger(__name__)

ConnectionState = Literal["connecting", "connected", "disconnected"]
StateListener = Callable[[ConnectionState], None]


@dataclass(frozen=True)
class ConnectionReport:
    """How the connection stands; `reconnect_count` counts sockets that had to be replaced."""

    state: ConnectionState
    socket_count: int
    channel_count: int
    joined_count: int
    reconnect_count: int
    failures_in_a_row: int
    last_error: str | None


class RealtimeConnection:
    """Keeps channels joined, whatever the network does; opens its first socket with the first channel.

    `state` is `connected` while a socket is open, `disconnected` while dialling fails, otherwise `connecting`.
    """

    def __init__(self, url: str, key: str, tokens: TokenSource, http: Pool, pace: RealtimeTimings | None = None):
        self.state: ConnectionState = "disconnected"
        self._url = f"{url}/realtime/v1"
        self._key = key
        self._tokens = tokens
        self._http = http
        self._pace = pace or RealtimeTimings()
        self._sockets: list[Socket] = []
        self._memberships: dict[str, SupervisedChannel] = {}
        self._away: set[SupervisedChannel] = set()
        self._away_since = 0.0
        self._keepers: set[asyncio.Task[None]] = set()
        self._token_keeper: asyncio.Task[None] | None = None
        self._listeners: list[StateListener] = []
        self._dialling = asyncio.Lock()
        self._refusal: Unauthorized | None = None
        self._next_join_at = 0.0
        self._backoff = Backoff(self._pace.stable_s)
        self._reconnect_count = 0
        self._last_error: str | None = None

    @property
    def renewable(self) -> bool:
        """True when a fresh token can be had."""
        return self._tokens.renewable

    def report(self) -> ConnectionReport:
        """How the connection stands now."""
        return ConnectionReport(
            state=self.state,
            socket_count=len(self._sockets),
            channel_count=len(self._memberships),
            joined_count=sum(membership.joined for membership in self._memberships.values()),
            reconnect_count=self._reconnect_count,
            failures_in_a_row=self._backoff.failures if self._backoff.waiting else 0,
            last_error=self._last_error,
        )

    def listen(self, listener: StateListener) -> Callable[[], None]:
        """Hear of every change of `state`; answers how to stop hearing."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    async def join(
        self,
        topic: str,
        *,
        on_message: OnMessage | None = None,
        on_joined: OnJoined | None = None,
        on_left: OnLeft | None = None,
        on_doubt: OnSuspect | None = None,
        changes: Sequence[ChangesOf] = (),
        on_change: OnChange | None = None,
    ) -> Channel:
        """Join a private channel in the background and keep it joined; answers at once.

        `on_message` gets event name and payload. `on_joined` is called after every join. `on_left` is called with
        None when it is being joined again, and with an error when it never will. With `changes`, the same for all who
        join the topic, it counts as joined while the database is listened to; `on_joined` is also called when a change
        may have got lost in between, and `on_change` gets each changed row. `on_doubt` is called while it is joined as
        far as is known, and yet nothing may come any more. All of them have to return at once.
        """
        self._http.check()
        membership = self._memberships.get(topic)
        if membership is None or membership.error is not None:
            membership = self._memberships[topic] = SupervisedChannel(topic, self, self._pace, changes)
        if membership.changes != tuple(changes):
            raise ValueError(f"{topic} is joined for other changes")
        return Channel(membership, ChannelCallbacks(on_message, on_joined, on_left, on_doubt, on_change), self._leave)

    async def post(self, topic: str, event: str, payload: Mapping[str, Any]) -> None:
        """Broadcast on a private channel over REST; returns once the server has taken it."""
        await broadcast_over_rest(self._http, self._url, topic, event, payload)

    async def close(self) -> None:
        """Leave all channels and close all sockets; whoever is cancelled meanwhile leaves it to end by itself."""
        ending = []
        for membership in list(self._memberships.values()):
            self.forget(membership)
            ending.append(membership.end())
        for socket in self._sockets:
            socket.dismiss()
        if self._token_keeper is not None:
            self._token_keeper.cancel()
            ending.append(self._token_keeper)
        if ending:
            await asyncio.wait(ending)
        self._token_keeper = None
        if self._keepers:
            await asyncio.wait(list(self._keepers))

    async def socket_for(self, topic: str) -> Socket:
        """An open socket that takes the topic; dials until there is one. Raises `Unauthorized` for a refused key."""
        await self._pace_joins()
        if (socket := self._room_for(topic)) is not None:
            return socket
        refusal = self._refusal
        async with self._dialling:
            if self._refusal is not refusal:  # All channels that waited for a dial get its answer.
                raise Unauthorized(str(self._refusal))
            return self._room_for(topic) or await self._dial()

    def lost(self, membership: SupervisedChannel) -> None:
        """The membership lost its socket and is on its way to another one."""
        if not self._away:
            self._away_since = time.monotonic()
        self._away.add(membership)

    def regained(self, membership: SupervisedChannel) -> None:
        """The membership is joined, for the first time or again."""
        if membership in self._away:
            self._away.remove(membership)
            if not self._away:
                away_s = time.monotonic() - self._away_since
                logger.info("all channels are joined again after %.1f s", away_s)

    def forget(self, membership: SupervisedChannel) -> None:
        """The membership is over."""
        self._away.discard(membership)
        if self._memberships.get(membership.topic) is membership:
            del self._memberships[membership.topic]

    async def renew_token(self, stale: str | None) -> None:
        """Get a token other than `stale` and give it to all sockets; raises `Unavailable` or `Unauthorized`."""
        await self._share(await self._tokens.renewed(stale))

    def _room_for(self, topic: str) -> Socket | None:
        return next((socket for socket in self._sockets if socket.takes(topic)), None)

    async def _leave(self, membership: SupervisedChannel, listener: ChannelListener) -> None:
        if membership.remove(listener):
            self.forget(membership)
            await asyncio.wait([membership.end()])

    async def _dial(self) -> Socket:
        while True:
            if self._backoff.waiting:
                wait_s = reconnect_wait_s(self._backoff.failures)
                logger.info("dialling Realtime in %.1f s, attempt %s", wait_s, self._backoff.failures)
                await pause(wait_s)
            try:
                return await self._open()
            except TransientError as exc:
                self._backoff.dial_failed()
                self._last_error = str(exc)
                logger.warning("%s", exc)
                self._update_state()

    async def _open(self) -> Socket:
        self._update_state(dialling=True)
        try:
            token = await self._tokens.current()
            # Each socket has its own time to go, so that they do not all move at once.
            pace = replace(self._pace, recycle_s=self._pace.recycle_s * random.uniform(0.75, 1.0))
            socket = await Socket.open(self._url, self._key, token, pace)
        except Unauthorized as exc:
            self._refusal = exc
            self._last_error = str(exc)
            self._update_state()
            raise
        self._backoff.opened()
        self._sockets.append(socket)
        self._start(socket)
        logger.info("opened Realtime socket %s", len(self._sockets))
        self._update_state()
        return socket

    def _start(self, socket: Socket) -> None:
        keeper = asyncio.create_task(self._keep(socket), name="realtime socket")
        self._keepers.add(keeper)
        keeper.add_done_callback(self._keepers.discard)
        if self._tokens.renewable and self._token_keeper is None:
            self._token_keeper = asyncio.create_task(self._keep_token_fresh(), name="realtime token")

    async def _keep(self, socket: Socket) -> None:
        socket.lost.add_done_callback(lambda _: self._drop(socket))
        await socket.look_after()

    def _drop(self, socket: Socket) -> None:
        self._sockets.remove(socket)
        reason = socket.lost.result()
        if socket.channel_count:
            self._reconnect_count += 1
            self._backoff.lost(socket.age_s, token_expired=socket.token_expired)
            self._last_error = reason
        count = socket.channel_count
        logger.info("Realtime socket with %s channels is gone after %.0f s: %s", count, socket.age_s, reason)
        self._update_state()

    async def _keep_token_fresh(self) -> None:
        while True:
            due_in_s = self._tokens.renew_due_in_s()
            await asyncio.sleep(due_in_s or 0)
            try:
                await self._share(await self._tokens.current())
            except SmeltError as exc:  # What can't join any more for it will tell so.
                logger.warning("the Realtime token could not be renewed: %s", exc)
                await pause(reconnect_wait_s(5))

    async def _share(self, token: str | None) -> None:
        if token is not None:
            await asyncio.gather(*(socket.set_auth(token) for socket in self._sockets if socket.token != token))

    async def _pace_joins(self) -> None:
        # A second's worth may go at once; then they follow one another evenly.
        now = time.monotonic()
        self._next_join_at = max(self._next_join_at, now - 1.0) + 1.0 / self._pace.joins_a_second
        if self._next_join_at > now:
            await asyncio.sleep(self._next_join_at - now)

    def _update_state(self, *, dialling: bool = False) -> None:
        state: ConnectionState = "disconnected"
        if self._sockets:
            state = "connected"
        elif dialling and not self._backoff.waiting:
            state = "connecting"
        if state == self.state:
            return
        self.state = state
        for listener in list(self._listeners):
            try:
                listener(state)
            except Exception:
                logger.exception("a listener of the Realtime connection failed")

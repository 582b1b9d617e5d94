"""The supervised connection of a project to Realtime: opens, replaces and closes sockets as its channels need them."""

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import quote

import httpx

from smelt.backend.error_mapping import map_http_error
from smelt.backend.pool import Pool
from smelt.backend.realtime.channel import Channel, SupervisedChannel
from smelt.backend.realtime.channel_join import ChangesOf
from smelt.backend.realtime.events import OnEvent
from smelt.backend.realtime.policy import Backoff, RealtimeTimings
from smelt.backend.realtime.socket import Socket
from smelt.backend.retries import pause, reconnect_wait_s, transient_retries
from smelt.backend.tokens import TokenSource
from smelt.errors import SmeltError, TransientError, Unauthorized, Unavailable

logger = logging.getLogger(__name__)

ConnectionState = Literal["connecting", "connected", "disconnected"]
StateListener = Callable[[ConnectionState], None]


@dataclass(frozen=True)
class ConnectionReport:
    """The state of the connection; `reconnect_count` counts sockets with channels that were lost."""

    state: ConnectionState
    socket_count: int
    channel_count: int
    joined_count: int
    reconnect_count: int
    failures_in_a_row: int
    last_error: str | None


class RealtimeConnection:
    """Keeps channels joined through failures of the network; opens its first socket with the first channel.

    `state` is `connected` while a socket is open, `connecting` during the first attempt to open one, and
    `disconnected` otherwise.
    """

    def __init__(self, url: str, key: str, tokens: TokenSource, http: Pool, timings: RealtimeTimings | None = None):
        self.state: ConnectionState = "disconnected"
        self._url = f"{url}/realtime/v1"
        self._key = key
        self._tokens = tokens
        self._http = http
        self._timings = timings or RealtimeTimings()
        self._sockets: list[Socket] = []
        self._channels: dict[str, SupervisedChannel] = {}
        self._rejoining: set[SupervisedChannel] = set()
        self._rejoining_since = 0.0
        self._socket_tasks: set[asyncio.Task[None]] = set()
        self._token_task: asyncio.Task[None] | None = None
        self._listeners: list[StateListener] = []
        self._open_lock = asyncio.Lock()
        self._open_error: Unauthorized | None = None
        self._next_join_at = 0.0
        self._backoff = Backoff(self._timings.stable_s)
        self._reconnect_count = 0
        self._last_error: str | None = None

    @property
    def renewable(self) -> bool:
        """True if the token can be renewed."""
        return self._tokens.renewable

    def report(self) -> ConnectionReport:
        """Return the current state of the connection."""
        return ConnectionReport(
            state=self.state,
            socket_count=len(self._sockets),
            channel_count=len(self._channels),
            joined_count=sum(channel.joined for channel in self._channels.values()),
            reconnect_count=self._reconnect_count,
            failures_in_a_row=self._backoff.failures if self._backoff.waiting else 0,
            last_error=self._last_error,
        )

    def add_state_listener(self, listener: StateListener) -> Callable[[], None]:
        """Call `listener` on each change of `state`; return a function that removes it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    async def join(self, topic: str, on_event: OnEvent | None = None, *, changes: Sequence[ChangesOf] = ()) -> Channel:
        """Join a private channel in the background and keep it joined; return at once.

        Args:
            topic: The name of the channel, without the `realtime:` prefix of the protocol.
            on_event: Called with each event on the event loop; it must return at once.
            changes: Bindings to tables, the same for all listeners of a topic. With bindings, the channel counts as
                joined once the server listens to the database.
        """
        self._http.check()
        channel = self._channels.get(topic)
        if channel is None or channel.error is not None:
            channel = self._channels[topic] = SupervisedChannel(topic, self, self._timings, changes)
        if channel.changes != tuple(changes):
            raise ValueError(f"{topic} is already joined with other changes")
        return Channel(channel, on_event)

    async def post(self, topic: str, event: str, payload: Mapping[str, Any]) -> None:
        """Broadcast on a private channel over REST, without a join; return once the server has accepted the message."""
        # The endpoint for many messages also responds with 202 to messages that it drops as unauthorized.
        url = f"{self._url}/api/broadcast/{quote(topic, safe='')}/events/{quote(event, safe='')}"
        async for attempt in transient_retries():
            with attempt:
                try:
                    response = await self._http.post(url, params={"private": "true"}, json=payload)
                except httpx.TransportError as exc:
                    raise Unavailable(f"broadcasting on {topic}: {type(exc).__name__}") from exc
                if response.status_code != httpx.codes.ACCEPTED:
                    raise map_http_error(response.status_code, f"the broadcast on {topic} was not accepted")

    async def close(self) -> None:
        """Leave all channels and close all sockets; if cancelled, the closing goes on in the background."""
        ending = []
        for channel in list(self._channels.values()):
            self.forget_channel(channel)
            ending.append(channel.end())
        for socket in self._sockets:
            socket.leave_all()
        if self._token_task is not None:
            self._token_task.cancel()
            ending.append(self._token_task)
        if ending:
            await asyncio.wait(ending)
        self._token_task = None
        if self._socket_tasks:
            await asyncio.wait(list(self._socket_tasks))

    async def socket_for(self, topic: str) -> Socket:
        """Return a socket that can join the topic; open one with backoff. Raise `Unauthorized` for a rejected key."""
        await self._throttle_joins()
        if (socket := self._socket_with_room(topic)) is not None:
            return socket
        earlier_error = self._open_error
        async with self._open_lock:
            if self._open_error is not earlier_error:  # The key was rejected while this channel waited.
                raise Unauthorized(str(self._open_error))
            return self._socket_with_room(topic) or await self._open_with_retries()

    def on_channel_lost(self, channel: SupervisedChannel) -> None:
        """Record that a channel lost its socket and rejoins on another one."""
        if not self._rejoining:
            self._rejoining_since = time.monotonic()
        self._rejoining.add(channel)

    def on_channel_joined(self, channel: SupervisedChannel) -> None:
        """Record that a channel is joined."""
        if channel in self._rejoining:
            self._rejoining.remove(channel)
            if not self._rejoining:
                rejoined_after_s = time.monotonic() - self._rejoining_since
                logger.info("all channels are joined again after %.1f s", rejoined_after_s)

    def forget_channel(self, channel: SupervisedChannel) -> None:
        """Remove a channel that has ended."""
        self._rejoining.discard(channel)
        if self._channels.get(channel.topic) is channel:
            del self._channels[channel.topic]

    async def renew_token(self, stale: str | None) -> None:
        """Send a token other than `stale` on all sockets; raise `Unavailable` or `Unauthorized` without one."""
        await self._distribute_token(await self._tokens.renewed(stale))

    def _socket_with_room(self, topic: str) -> Socket | None:
        return next((socket for socket in self._sockets if socket.can_join(topic)), None)

    async def _open_with_retries(self) -> Socket:
        while True:
            if self._backoff.waiting:
                wait_s = reconnect_wait_s(self._backoff.failures)
                logger.info("reconnecting to Realtime in %.1f s, attempt %s", wait_s, self._backoff.failures)
                await pause(wait_s)
            try:
                return await self._open()
            except TransientError as exc:
                self._backoff.record_open_failed()
                self._last_error = str(exc)
                logger.warning("%s", exc)
                self._update_state()

    async def _open(self) -> Socket:
        self._update_state(opening=True)
        try:
            token = await self._tokens.current()
            # A random lifetime for each socket: their channels do not all rejoin at once.
            timings = replace(self._timings, recycle_s=self._timings.recycle_s * random.uniform(0.75, 1.0))
            socket = await Socket.open(self._url, self._key, token, timings)
        except Unauthorized as exc:
            self._open_error = exc
            self._last_error = str(exc)
            self._update_state()
            raise
        self._backoff.record_opened()
        self._sockets.append(socket)
        self._start_supervision(socket)
        logger.info("opened Realtime socket %s", len(self._sockets))
        self._update_state()
        return socket

    def _start_supervision(self, socket: Socket) -> None:
        task = asyncio.create_task(self._supervise(socket), name="realtime socket")
        self._socket_tasks.add(task)
        task.add_done_callback(self._socket_tasks.discard)
        if self._tokens.renewable and self._token_task is None:
            self._token_task = asyncio.create_task(self._renew_token_when_due(), name="realtime token")

    async def _supervise(self, socket: Socket) -> None:
        socket.lost.add_done_callback(lambda _: self._drop(socket))
        await socket.supervise()

    def _drop(self, socket: Socket) -> None:
        self._sockets.remove(socket)
        reason = socket.lost.result()
        if socket.channel_count:
            self._reconnect_count += 1
            self._backoff.record_lost(socket.age_s, token_expired=socket.token_expired)
            self._last_error = reason
        count = socket.channel_count
        logger.info("lost a Realtime socket with %s channels after %.0f s: %s", count, socket.age_s, reason)
        self._update_state()

    async def _renew_token_when_due(self) -> None:
        while True:
            due_in_s = self._tokens.renew_due_in_s()
            await asyncio.sleep(due_in_s or 0)
            try:
                await self._distribute_token(await self._tokens.current())
            except SmeltError as exc:  # Channels that cannot rejoin without it report that.
                logger.warning("the Realtime token could not be renewed: %s", exc)
                await pause(reconnect_wait_s(5))

    async def _distribute_token(self, token: str | None) -> None:
        if token is not None:
            await asyncio.gather(*(socket.set_auth(token) for socket in self._sockets if socket.token != token))

    async def _throttle_joins(self) -> None:
        # A burst of one second's joins is allowed; after that they are spaced evenly.
        now = time.monotonic()
        self._next_join_at = max(self._next_join_at, now - 1.0) + 1.0 / self._timings.joins_per_second
        if self._next_join_at > now:
            await asyncio.sleep(self._next_join_at - now)

    def _update_state(self, *, opening: bool = False) -> None:
        state: ConnectionState = "disconnected"
        if self._sockets:
            state = "connected"
        elif opening and not self._backoff.waiting:
            state = "connecting"
        if state == self.state:
            return
        self.state = state
        for listener in list(self._listeners):
            try:
                listener(state)
            except Exception:
                logger.exception("a listener of the Realtime connection failed")

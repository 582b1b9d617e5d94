"""One websocket to Realtime: opened once, supervised, and closed for good.

The reconnects and heartbeats of the official client are switched off: it stops reconnecting after seconds, rejoins
rejected channels forever, lets a stale `phx_close` close a new channel, and ignores the replies to its heartbeats.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Final

from realtime import AsyncRealtimeChannel, AsyncRealtimeClient, ChannelStates, RealtimeSubscribeStates
from realtime._async.push import AsyncPush
from realtime.message import SuccessSystemPayload
from realtime.types import BroadcastPayload, RealtimeAcknowledgementStatus
from websockets.exceptions import ConnectionClosed, InvalidStatus

from smelt.backend.clock import WallClock
from smelt.backend.realtime.channel_join import CHANGES_EXTENSION, ChangesOf, ChannelJoin, open_channel
from smelt.backend.realtime.events import OnEvent
from smelt.backend.realtime.policy import (
    ChannelFailed,
    ClosedByServer,
    CloseSocket,
    JoinRejected,
    JoinTimedOut,
    Liveness,
    MarkSuspect,
    RealtimeTimings,
    SendHeartbeat,
    SocketLost,
    SocketToken,
    Wait,
    can_reuse_socket,
    error_reason,
    handshake_error,
    next_step,
)
from smelt.errors import Unavailable

logger = logging.getLogger(__name__)

DISABLED_HEARTBEAT_INTERVAL_S: Final = 7 * 24 * 3600
CLOSE_TIMEOUT_S: Final = 2.0

# The client library logs each lost socket as an error, and quotes the messages that it sends, receives and cannot
# parse, with tokens and transcripts. These loggers are quiet for smelt's sockets, whose state this package logs itself.
# Tasks and transports inherit the context in which a socket is opened: sockets of the app itself are still logged.
_LOGGERS: Final = ("realtime._async.client", "realtime._async.channel", "realtime._async.timer", "websockets.client")
_is_quiet: Final = ContextVar("smelt_quiet_client_logs", default=False)


class _NotQuiet(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not _is_quiet.get()


_not_quiet: Final = _NotQuiet()
for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(_not_quiet)


@contextlib.contextmanager
def quiet_client_logs() -> Iterator[None]:
    """Suppress the client library's log records of calls, sockets and tasks that start inside."""
    token = _is_quiet.set(True)
    try:
        yield
    finally:
        _is_quiet.reset(token)


class Socket:
    """An open websocket with up to `channels_per_socket` channels; the future `lost` completes with the reason."""

    def __init__(self, client: AsyncRealtimeClient, timings: RealtimeTimings, token: SocketToken) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._token = token
        self._client = client
        # The client can neither abort a silent connection nor report that it stopped receiving.
        self._websocket = client._ws_connection
        if client._listen_task is not None:
            client._listen_task.add_done_callback(self._on_receiving_ended)
        self._timings = timings
        self._joins: dict[str, ChannelJoin] = {}
        self._used_topics: set[str] = set()
        self._tasks: set[asyncio.Task[object]] = set()
        self._heartbeat = _Heartbeat(client, lambda error: self.mark_lost(_close_reason(error)))

    @classmethod
    async def open(cls, url: str, key: str, token: str | None, timings: RealtimeTimings) -> "Socket":
        """Open a websocket; raise `Unauthorized` if the key is rejected, `Unavailable` for any other failure."""
        client = AsyncRealtimeClient(
            url, key, auto_reconnect=False, hb_interval=DISABLED_HEARTBEAT_INTERVAL_S, timeout=timings.open_timeout_s
        )
        client.access_token = token if token is not None else key
        try:
            await client.connect()
        except Exception as exc:
            await client.close()
            status = exc.response.status_code if isinstance(exc, InvalidStatus) else None
            reason = f"HTTP {status}" if status is not None else f"{type(exc).__name__}: {exc}"
            raise handshake_error(status, reason) or Unavailable(f"opening a Realtime socket: {reason}") from exc
        except BaseException:
            await client.close()
            raise
        return cls(client, timings, SocketToken(is_issued=token is None))

    @property
    def channel_count(self) -> int:
        """The number of channels that are joined or joining."""
        return len(self._joins)

    @property
    def token(self) -> str | None:
        """The token that is sent with joins."""
        return self._client.access_token

    @property
    def token_expired(self) -> bool:
        """True if the socket was closed because the token that the gateway issued for it expired."""
        return self._token.is_expired

    @property
    def age_s(self) -> float:
        """Seconds since the socket was opened."""
        return time.monotonic() - self._heartbeat.opened_at

    def can_join(self, topic: str) -> bool:
        """Return True if `topic` can be joined on this socket."""
        has_room = len(self._joins) < self._timings.channels_per_socket
        return has_room and not self.lost.done() and topic not in self._used_topics and topic not in self._joins

    def join_channel(self, topic: str, on_event: OnEvent, changes: Sequence[ChangesOf] = ()) -> ChannelJoin:
        """Start to join a channel; requires `can_join(topic)`."""
        join = open_channel(self._client, topic, on_event, changes, self._timings.join_timeout_s)
        self._joins[topic] = join
        join.channel.on_broadcast("*", lambda payload: self._on_broadcast(join, payload))
        join.channel.on_system(lambda payload: self._on_system(join, payload))
        self._start_task(self._join(join))
        return join

    def leave_channel(self, join: ChannelJoin) -> None:
        """End a join and leave its channel on the server if needed; the last channel closes the socket."""
        if self._joins.get(join.topic) is not join:
            return
        del self._joins[join.topic]
        join.end(ClosedByServer())
        reusable = can_reuse_socket(join.left.result())
        if not reusable:
            self._used_topics.add(join.topic)
        if not self._joins:
            self.mark_lost("no longer needed")
        elif not self.lost.done():
            self._drop_channel(join.channel, is_joined=not reusable)

    async def send(self, join: ChannelJoin, event: str, payload: dict[str, Any], timeout_s: float) -> bool:
        """Broadcast on a joined channel; return True if the server acknowledged it."""
        if not join.is_joined or self.lost.done():
            return False
        acknowledged: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        push: AsyncPush | None = None
        try:
            async with asyncio.timeout(timeout_s):
                push = await join.channel.push("broadcast", {"type": "broadcast", "event": event, "payload": payload})
                push.receive(RealtimeAcknowledgementStatus.Ok, lambda _: _settle(acknowledged, True))
                push.receive(RealtimeAcknowledgementStatus.Error, lambda _: _settle(acknowledged, False))
                outcomes: list[asyncio.Future[Any]] = [acknowledged, join.left]
                await asyncio.wait(outcomes, return_when=asyncio.FIRST_COMPLETED)
                return acknowledged.done() and acknowledged.result()
        except TimeoutError:
            return False
        finally:
            if push is not None:
                _forget(join.channel, push)

    async def set_auth(self, token: str) -> None:
        """Send a fresh token on all joined channels; close the socket if that times out."""
        self._client.access_token = token
        try:
            async with asyncio.timeout(self._timings.reply_timeout_s):
                for channel in [join.channel for join in self._joins.values() if join.is_joined]:
                    push = await channel.push("access_token", {"access_token": token})
                    _forget(channel, push)  # The server does not reply to it.
        except TimeoutError:
            self.mark_lost("sending a fresh token timed out")

    def mark_lost(self, reason: str) -> None:
        """Complete `lost` and end all joins; `supervise` then closes the socket."""
        _settle(self.lost, reason)
        for join in list(self._joins.values()):
            join.end(SocketLost(reason))

    def leave_all(self) -> None:
        """Leave all channels by closing the socket, without a leave message for each."""
        joins = list(self._joins.values())
        self._joins.clear()
        self.mark_lost("no longer needed")
        for join in joins:
            join.end(ClosedByServer())

    async def supervise(self) -> str:
        """Keep the socket alive until it is lost, then close it; return the reason."""
        try:
            while not self.lost.done():
                match next_step(self._heartbeat.liveness(), time.monotonic(), self._timings):
                    case SendHeartbeat():
                        self._start_task(self._heartbeat.send(self._timings.join_timeout_s))
                    case MarkSuspect():
                        self._mark_suspect()
                    case Wait(seconds):
                        await asyncio.wait([self.lost], timeout=seconds)
                    case CloseSocket(reason):
                        self.mark_lost(reason)
            return self.lost.result()
        finally:
            self.mark_lost("closed")
            await self._close()

    def _on_receiving_ended(self, listening: asyncio.Task[None]) -> None:
        error = None if listening.cancelled() else listening.exception()
        code = None if self._websocket is None else self._websocket.close_code
        self.mark_lost(_close_reason(error) if code is None else f"closed with {code}")

    def _mark_suspect(self) -> None:
        logger.info("a Realtime socket with %s channels is suspect: the reply to a heartbeat is late", len(self._joins))
        self._heartbeat.mark_suspect()
        for join in list(self._joins.values()):
            join.mark_suspect()

    def _on_broadcast(self, join: ChannelJoin, payload: BroadcastPayload) -> None:
        self._heartbeat.record_activity()
        join.deliver_broadcast(payload)

    def _on_system(self, join: ChannelJoin, payload: SuccessSystemPayload) -> None:
        self._heartbeat.record_activity()
        if payload.extension == CHANGES_EXTENSION:
            join.confirm_changes()

    def _on_join_state(self, join: ChannelJoin, state: RealtimeSubscribeStates, error: Exception | None) -> None:
        join.channel.rejoin_timer.reset()  # SupervisedChannel decides about rejoining.
        if state is RealtimeSubscribeStates.TIMED_OUT:
            join.end(JoinTimedOut())
            return
        self._heartbeat.record_activity()
        if state is RealtimeSubscribeStates.SUBSCRIBED:
            self._token.record_accepted()
            join.accept(self._timings.join_timeout_s)
        elif state is RealtimeSubscribeStates.CLOSED:
            join.end(ClosedByServer())
        elif error is None or isinstance(error, ConnectionClosed):
            join.end(SocketLost(_close_reason(error)))
        else:
            reason = error_reason(str(error))
            self._on_error(join, ChannelFailed(reason) if join.accepted else JoinRejected(reason))

    def _on_error(self, join: ChannelJoin, left: ChannelFailed | JoinRejected) -> None:
        if self._token.record_error(left):
            self.mark_lost(left.reason)
        join.end(left)

    def _drop_channel(self, channel: AsyncRealtimeChannel, *, is_joined: bool) -> None:
        # The client has removed a channel that the server closed; a reply to its leave message would not be routed.
        if self._client.channels.get(channel.topic) is not channel:
            return
        if is_joined:
            self._start_task(self._leave(channel))
        else:
            del self._client.channels[channel.topic]
            channel.join_push.destroy()

    async def _join(self, join: ChannelJoin) -> None:
        if not self.lost.done():  # Subscribing on a lost connection would make the client reconnect.
            await join.channel.subscribe(lambda state, error: self._on_join_state(join, state, error))

    async def _leave(self, channel: AsyncRealtimeChannel) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timings.reply_timeout_s):
                await channel.unsubscribe()

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        try:
            if self._tasks:
                await asyncio.wait(list(self._tasks))
        finally:
            self._stop_timers()
            await self._close_client()

    def _stop_timers(self) -> None:
        for channel in {*self._client.channels.values(), *(join.channel for join in self._joins.values())}:
            channel.rejoin_timer.reset()
            channel.join_push.destroy()
            for push in list(channel.messages_waiting_for_ack.values()):
                push.destroy()

    async def _close_client(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._client.close()
        except (TimeoutError, asyncio.CancelledError) as exc:  # No reply to the closing handshake.
            if self._websocket is not None:
                self._websocket.transport.abort()
            await self._client.close()
            if isinstance(exc, asyncio.CancelledError):
                raise

    def _start_task(self, work: Coroutine[Any, Any, object]) -> None:
        task: asyncio.Task[object] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.debug("a task of a Realtime socket failed: %r", error)
            self.mark_lost(_close_reason(error))


class _Heartbeat:
    """Sends heartbeats and records activity of an open websocket; `on_broken` is called first when it is lost."""

    def __init__(self, client: AsyncRealtimeClient, on_broken: Callable[[Exception | None], None]) -> None:
        self.opened_at = time.monotonic()
        self._received_at = self._heartbeat_at = self.opened_at
        self._is_suspect = False
        self._clock = WallClock()
        # The client routes messages to the channel of their topic. A channel on the protocol's own topic receives the
        # replies to heartbeats, and while it counts as joined, it is the first to be notified of a lost websocket.
        self._channel = AsyncRealtimeChannel(client, "phoenix")
        self._channel.state = ChannelStates.JOINED
        self._channel.subscribe_callback = lambda _, error: on_broken(error)
        client.channels[self._channel.topic] = self._channel

    def liveness(self) -> Liveness:
        """Return the liveness so far."""
        return Liveness(
            self.opened_at, self._received_at, self._heartbeat_at, self._is_suspect, self._clock.ran_ahead_s()
        )

    def record_activity(self) -> None:
        """Record that a message was received."""
        self._received_at = time.monotonic()

    def mark_suspect(self) -> None:
        """Record that the reply to the last heartbeat is late."""
        self._is_suspect = True

    def send(self, timeout_s: int) -> Coroutine[Any, Any, None]:
        """Record a heartbeat as sent now; return the coroutine that sends it."""
        # The client's own heartbeats do not report their replies.
        push = AsyncPush(self._channel, "heartbeat", {}, timeout_s)
        push.receive(RealtimeAcknowledgementStatus.Ok, lambda _: self.record_activity())
        self._heartbeat_at = time.monotonic()
        self._is_suspect = False
        return push.send()


def _settle(future: asyncio.Future[Any], value: object) -> None:
    if not future.done():
        future.set_result(value)


def _forget(channel: AsyncRealtimeChannel, push: AsyncPush) -> None:
    push.destroy()
    if push.ref is not None:
        channel.messages_waiting_for_ack.pop(push.ref, None)


def _close_reason(error: BaseException | None) -> str:
    if isinstance(error, ConnectionClosed):
        code = error.rcvd.code if error.rcvd is not None else 1006
        return f"closed with {code}"
    return "lost" if error is None else f"{type(error).__name__}: {error}"

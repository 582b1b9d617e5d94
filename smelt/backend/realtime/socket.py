"""One websocket to Realtime, used once: opened, looked after, and closed for good.

The official client is kept on a short lead, because left alone it stops reconnecting after seconds, rejoins refused
channels for ever, lets a stale `phx_close` close a new channel, and never looks at the answers to its heartbeats.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine, Sequence
from typing import Any, Final

from realtime import AsyncRealtimeChannel, AsyncRealtimeClient, RealtimeSubscribeStates
from realtime._async.push import AsyncPush
from realtime.message import SuccessSystemPayload
from realtime.types import BroadcastPayload, RealtimeAcknowledgementStatus
from websockets.exceptions import ConnectionClosed, InvalidStatus

from smelt.backend.realtime.channel_join import CHANGES_EXTENSION, ChangesOf, ChannelJoin, JoinCallbacks, open_channel
from smelt.backend.realtime.policy import (
    ChannelFailed,
    ClosedByServer,
    CloseSocket,
    JoinRejected,
    JoinTimedOut,
    MarkSuspect,
    RealtimeTimings,
    SendHeartbeat,
    SocketLost,
    SocketToken,
    Wait,
    dial_error,
    error_reason,
    may_reuse,
    next_step,
)
from smelt.backend.realtime.socket_heartbeat import SocketHeartbeat
from smelt.errors import Unavailable

logger = logging.getLogger(__name__)

NO_BUILT_IN_HEARTBEAT_S: Final = 7 * 24 * 3600
CLOSE_S: Final = 2.0


class Socket:
    """An open websocket with up to a hundred channels; `lost` is done when it is of no more use."""

    def __init__(self, client: AsyncRealtimeClient, pace: RealtimeTimings, token: SocketToken) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._token = token
        self._client = client
        # The client has no way to let go of a silent connection, and none to tell that it stopped listening.
        self._websocket = client._ws_connection
        if client._listen_task is not None:
            client._listen_task.add_done_callback(self._stopped_listening)
        self._pace = pace
        self._seats: dict[str, ChannelJoin] = {}
        self._spent: set[str] = set()
        self._tasks: set[asyncio.Task[object]] = set()
        self._pulse = SocketHeartbeat(client, lambda error: self.retire(_close_reason(error)))

    @classmethod
    async def open(cls, url: str, key: str, token: str | None, pace: RealtimeTimings) -> "Socket":
        """Dial once; raises `Unauthorized` when the key is refused, `Unavailable` for all else."""
        client = AsyncRealtimeClient(
            url, key, auto_reconnect=False, hb_interval=NO_BUILT_IN_HEARTBEAT_S, timeout=pace.open_timeout_s
        )
        client.access_token = token if token is not None else key
        try:
            await client.connect()
        except Exception as exc:
            await client.close()
            status = exc.response.status_code if isinstance(exc, InvalidStatus) else None
            reason = f"HTTP {status}" if status is not None else f"{type(exc).__name__}: {exc}"
            raise dial_error(status, reason) or Unavailable(f"opening a Realtime socket: {reason}") from exc
        except BaseException:
            await client.close()
            raise
        return cls(client, pace, SocketToken(is_issued=token is None))

    @property
    def channel_count(self) -> int:
        """How many channels are joined or joining."""
        return len(self._seats)

    @property
    def token(self) -> str | None:
        """The token that joins go out with."""
        return self._client.access_token

    @property
    def token_expired(self) -> bool:
        """True if it was retired because the token that came with the connection expired."""
        return self._token.is_expired

    @property
    def age_s(self) -> float:
        """Seconds since it was opened."""
        return time.monotonic() - self._pulse.opened_at

    def takes(self, topic: str) -> bool:
        """True when `topic` can be joined here."""
        has_room = len(self._seats) < self._pace.channels_a_socket
        return has_room and not self.lost.done() and topic not in self._spent and topic not in self._seats

    def join_channel(self, topic: str, ears: JoinCallbacks, changes: Sequence[ChangesOf] = ()) -> ChannelJoin:
        """Start to join a channel for which `takes` is true."""
        seat = open_channel(self._client, topic, ears, changes, self._pace.join_timeout_s)
        self._seats[topic] = seat
        seat.channel.on_broadcast("*", lambda payload: self._hear(seat, payload))
        seat.channel.on_system(lambda payload: self._hear_system(seat, payload))
        self._run(self._join(seat))
        return seat

    def leave_channel(self, seat: ChannelJoin) -> None:
        """Give a seat back, and tell the server unless it knows; the last one to leave closes the socket."""
        if self._seats.get(seat.topic) is not seat:
            return
        del self._seats[seat.topic]
        seat.end(ClosedByServer())
        reusable = may_reuse(seat.left.result())
        if not reusable:
            self._spent.add(seat.topic)
        if not self._seats:
            self.retire("not needed any more")
        elif not self.lost.done():
            self._part_with(seat.channel, is_joined=not reusable)

    async def send(self, seat: ChannelJoin, event: str, payload: dict[str, Any], timeout_s: float) -> bool:
        """Broadcast on a joined channel; true only when the server acknowledged it."""
        if not seat.is_joined or self.lost.done():
            return False
        acknowledged: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        push: AsyncPush | None = None
        try:
            async with asyncio.timeout(timeout_s):
                push = await seat.channel.push("broadcast", {"type": "broadcast", "event": event, "payload": payload})
                push.receive(RealtimeAcknowledgementStatus.Ok, lambda _: _settle(acknowledged, True))
                push.receive(RealtimeAcknowledgementStatus.Error, lambda _: _settle(acknowledged, False))
                outcomes: list[asyncio.Future[Any]] = [acknowledged, seat.left]
                await asyncio.wait(outcomes, return_when=asyncio.FIRST_COMPLETED)
                return acknowledged.done() and acknowledged.result()
        except TimeoutError:
            return False
        finally:
            if push is not None:
                _forget(seat.channel, push)

    async def set_auth(self, token: str) -> None:
        """Give a fresh token to all that is joined here; a socket that does not take it is retired."""
        self._client.access_token = token
        try:
            async with asyncio.timeout(self._pace.answer_s):
                for channel in [seat.channel for seat in self._seats.values() if seat.is_joined]:
                    push = await channel.push("access_token", {"access_token": token})
                    _forget(channel, push)  # It is never answered.
        except TimeoutError:
            self.retire("took no fresh token")

    def retire(self, reason: str) -> None:
        """End its use: every channel is told, and `look_after` closes it."""
        _settle(self.lost, reason)
        for seat in list(self._seats.values()):
            seat.end(SocketLost(reason))

    def dismiss(self) -> None:
        """Nobody needs it any more: its channels are left by closing it, without a word for each."""
        seats = list(self._seats.values())
        self._seats.clear()
        self.retire("not needed any more")
        for seat in seats:
            seat.end(ClosedByServer())

    async def look_after(self) -> str:
        """Keep the socket alive until it is lost, close it, and answer why it was lost."""
        try:
            while not self.lost.done():
                match next_step(self._pulse.vitals(), time.monotonic(), self._pace):
                    case SendHeartbeat():
                        self._run(self._pulse.beat(self._pace.join_timeout_s))
                    case MarkSuspect():
                        self._doubt()
                    case Wait(seconds):
                        await asyncio.wait([self.lost], timeout=seconds)
                    case CloseSocket(reason):
                        self.retire(reason)
            return self.lost.result()
        finally:
            self.retire("closed")
            await self._close()

    def _stopped_listening(self, listening: asyncio.Task[None]) -> None:
        error = None if listening.cancelled() else listening.exception()
        code = None if self._websocket is None else self._websocket.close_code
        self.retire(_close_reason(error) if code is None else f"closed with {code}")

    def _doubt(self) -> None:
        logger.info("a Realtime socket with %s channels does not answer a heartbeat so far", len(self._seats))
        self._pulse.doubt()
        for seat in list(self._seats.values()):
            seat.doubt()

    def _hear(self, seat: ChannelJoin, payload: BroadcastPayload) -> None:
        self._pulse.feel()
        if not seat.left.done():
            seat.hear(payload)

    def _hear_system(self, seat: ChannelJoin, payload: SuccessSystemPayload) -> None:
        self._pulse.feel()
        if payload.extension == CHANGES_EXTENSION:
            seat.resume_changes()

    def _seat_changed(self, seat: ChannelJoin, state: RealtimeSubscribeStates, error: Exception | None) -> None:
        seat.channel.rejoin_timer.reset()  # Whether and where to rejoin is decided elsewhere.
        if state is RealtimeSubscribeStates.TIMED_OUT:
            seat.end(JoinTimedOut())
            return
        self._pulse.feel()
        if state is RealtimeSubscribeStates.SUBSCRIBED:
            self._token.accept()
            seat.accept(self._pace.join_timeout_s)
        elif state is RealtimeSubscribeStates.CLOSED:
            seat.end(ClosedByServer())
        elif error is None or isinstance(error, ConnectionClosed):
            seat.end(SocketLost(_close_reason(error)))
        else:
            reason = error_reason(str(error))
            self._refused(seat, ChannelFailed(reason) if seat.accepted else JoinRejected(reason))

    def _refused(self, seat: ChannelJoin, left: ChannelFailed | JoinRejected) -> None:
        if self._token.refuse(left):
            self.retire(left.reason)
        seat.end(left)

    def _part_with(self, channel: AsyncRealtimeChannel, *, is_joined: bool) -> None:
        # The client forgets a channel that the server closed; an answer to its leaving would reach nobody.
        if self._client.channels.get(channel.topic) is not channel:
            return
        if is_joined:
            self._run(self._leave(channel))
        else:
            del self._client.channels[channel.topic]
            channel.join_push.destroy()

    async def _join(self, seat: ChannelJoin) -> None:
        if not self.lost.done():  # Subscribing on a broken client would make it dial again.
            await seat.channel.subscribe(lambda state, error: self._seat_changed(seat, state, error))

    async def _leave(self, channel: AsyncRealtimeChannel) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._pace.answer_s):
                await channel.unsubscribe()

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        try:
            if self._tasks:
                await asyncio.wait(list(self._tasks))
        finally:
            self._stop_timers()
            await self._hang_up()

    def _stop_timers(self) -> None:
        for channel in {*self._client.channels.values(), *(seat.channel for seat in self._seats.values())}:
            channel.rejoin_timer.reset()
            channel.join_push.destroy()
            for push in list(channel.messages_waiting_for_ack.values()):
                push.destroy()

    async def _hang_up(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._client.close()
        except (TimeoutError, asyncio.CancelledError) as exc:  # Nobody answers the closing handshake, or waits for it.
            if self._websocket is not None:
                self._websocket.transport.abort()
            await self._client.close()
            if isinstance(exc, asyncio.CancelledError):
                raise

    def _run(self, work: Coroutine[Any, Any, object]) -> None:
        task: asyncio.Task[object] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.debug("a Realtime socket broke: %r", error)
            self.retire(_close_reason(error))


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

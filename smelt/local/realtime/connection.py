"""Handles the frames of a socket in order: joins, leaves, broadcasts, presence and new tokens.

As on the platform, a failed join delays the whole socket, in both directions.
"""

import asyncio
import json
import random
import time
from collections.abc import Mapping
from typing import Final

from smelt.local.realtime.admission import Admission, TooManyJoins, read_denied
from smelt.local.realtime.authorization import DatabaseUnavailable, Extension, RealtimeCaller
from smelt.local.realtime.bindings import binding_id
from smelt.local.realtime.channel import JoinedChannel
from smelt.local.realtime.join import InvalidJoin, JoinRequest
from smelt.local.realtime.mailbox import Incoming, Mailbox
from smelt.local.realtime.protocol import (
    PHOENIX,
    TOPIC_PREFIX,
    BinaryPush,
    Frame,
    GenericBroadcast,
    Json,
    Outgoing,
    Push,
    UserBroadcast,
    Version,
    dump,
)
from smelt.local.realtime.server import Realtime
from smelt.local.realtime.tokens import InvalidRealtimeToken, Token, check_token, expired, lifetime_s

_DISCONNECTING: Final = dump({"message": "Server requested disconnect", "status": "ok", "extension": "system"})


class Connection:
    """The channels of one socket; `token` is the key that it connected with."""

    def __init__(
        self, realtime: Realtime, version: Version, token: Token, headers: Mapping[str, str], mailbox: Mailbox
    ) -> None:
        self._realtime = realtime
        self._options = realtime.options
        self._hub = realtime.hub
        self._version = version
        self._headers = headers
        self._mailbox = mailbox
        self._admission = Admission(realtime, version, token, headers, mailbox)
        self._channels: dict[str, JoinedChannel] = {}
        self._expiries: dict[JoinedChannel, asyncio.TimerHandle] = {}
        self._subscribing: dict[JoinedChannel, asyncio.Task[None]] = {}
        realtime.sockets.add(self)

    async def receive(self, frame: Incoming) -> None:
        """Handle a frame."""
        channel = self._channels.get(frame.topic)
        match frame:
            case Frame(topic=topic, event="heartbeat") if topic == PHOENIX:
                self._send(_reply(frame, {}))
            case Frame(topic=topic, event="phx_join") if topic.startswith(TOPIC_PREFIX):
                await self._join(frame, channel)
            case Frame(event="phx_leave") if channel is None:
                self._send(_reply(frame, {}, join_ref=frame.join_ref))
            case _ if channel is None:
                self._send(_reply(frame, {"reason": "unmatched topic"}, status="error"))
            case _:
                await self._dispatch(channel, frame)

    async def _dispatch(self, channel: JoinedChannel, frame: Incoming) -> None:
        match frame:
            case Frame(event="phx_leave"):
                self._leave(channel, frame)
            case BinaryPush():
                await self._relay_binary(channel, frame)
            case Frame(event="broadcast", payload=dict()):
                await self._relay(channel, frame)
            case Frame(event="presence", payload={"event": str(event), **rest}):
                await self._presence(channel, frame.ref, event, rest.get("payload", {}))
            case Frame(event="broadcast") | Frame(event="presence", payload={"event": _}):
                channel.crash()
            case Frame(event="presence"):
                channel.reply(frame.ref, {})
            case Frame(event="access_token", payload={"access_token": token}):
                await self._refresh(channel, token)
            case _:
                pass  # The platform ignores other events.

    def disconnect(self) -> None:
        """Send a disconnect event to the channels, and close the socket."""
        for channel in self._channels.values():
            self._send(Push(channel.topic, "system", _DISCONNECTING))
        self._mailbox.end()

    def close(self) -> None:
        """Leave all channels after the socket has closed."""
        self._realtime.sockets.discard(self)
        for channel in list(self._channels.values()):
            self._detach(channel)

    # Joining and leaving

    async def _join(self, frame: Frame, previous: JoinedChannel | None) -> None:
        if previous is not None:
            self._detach(previous)
        # Messages of other clients are sent after the reply, however long the join takes.
        channel: JoinedChannel | None = None
        with self._mailbox.hold():
            try:
                channel = await self._admission.admit(frame, len(self._channels), on_close=self._detach)
            except TooManyJoins:
                self._mailbox.end()
                return
            except InvalidJoin as error:
                await asyncio.sleep(self._options.join_error_delay_s)
                reply = _reply(frame, {"reason": str(error)}, status="error", join_ref=frame.join_ref)
            else:
                reply = _reply(frame, {"postgres_changes": _with_ids(channel.request)}, join_ref=frame.join_ref)
            self._mailbox.put_now(reply.encode(self._version))
            if previous is not None:
                self._mailbox.put_now(previous.close_frame().encode(self._version))
        if channel is not None:
            self._open(channel)

    def _open(self, channel: JoinedChannel) -> None:
        self._channels[channel.topic] = channel
        self._hub.add(channel.key, channel)
        self._schedule_expiry(channel)
        if channel.sees_presence:
            state = dump(self._hub.presences(channel.key))
            channel.push(Push(channel.topic, "presence_state", state, join_ref=channel.reply_ref))
        if channel.request.replication_ready:
            channel.system("Replication connection established", status="ok")
        channel.release()
        if channel.request.bindings:
            self._subscribe(channel, delay_s=0.0)

    def _leave(self, channel: JoinedChannel, frame: Frame) -> None:
        if channel.join_ref is not None and channel.join_ref != frame.join_ref:
            return  # A leave of an earlier join, which the new join has closed.
        channel.reply(frame.ref, {})
        channel.push_close()
        self._detach(channel)

    def _detach(self, channel: JoinedChannel) -> None:
        channel.closed = True
        self._channels.pop(channel.topic, None)
        self._hub.remove(channel.key, channel)
        self._realtime.changes.unsubscribe(channel)
        if (timer := self._expiries.pop(channel, None)) is not None:
            timer.cancel()
        if (task := self._subscribing.pop(channel, None)) is not None:
            task.cancel()

    # Tokens

    async def _refresh(self, channel: JoinedChannel, text: Json) -> None:
        if not isinstance(text, str) or text.startswith("sb_") or text == channel.token.text:
            return
        try:
            token = check_token(self._options.keys, text, time.time())
        except InvalidRealtimeToken as error:
            channel.close(error.on_refresh)
            return
        channel.token = token
        channel.writable.clear()
        self._schedule_expiry(channel)
        try:
            channel.readable = await self._admission.readable(channel.key, token)
        except InvalidJoin as error:
            channel.close(str(error))
            return
        if "broadcast" not in channel.readable:
            channel.close(read_denied(channel.key.name))
        elif channel.request.bindings:
            self._subscribe(channel, delay_s=random.uniform(*self._options.resubscribe_delay_s))

    def _schedule_expiry(self, channel: JoinedChannel) -> None:
        if (timer := self._expiries.pop(channel, None)) is not None:
            timer.cancel()
        delay_s = lifetime_s(channel.token, time.time())
        self._expiries[channel] = asyncio.get_running_loop().call_later(delay_s, self._expire, channel)

    def _expire(self, channel: JoinedChannel) -> None:
        channel.close(expired(channel.token.expires_at, time.time()).on_refresh)

    # Changes

    def _subscribe(self, channel: JoinedChannel, *, delay_s: float) -> None:
        if (task := self._subscribing.pop(channel, None)) is not None:
            task.cancel()
        self._subscribing[channel] = asyncio.create_task(self._subscribe_after(channel, delay_s))

    async def _subscribe_after(self, channel: JoinedChannel, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        await self._realtime.wait_ready()
        await self._realtime.changes.subscribe(channel, channel.request.bindings)

    # Messages

    async def _relay(self, channel: JoinedChannel, frame: Frame) -> None:
        message = Push(channel.topic, "broadcast", frame.text)
        await self._broadcast(channel, frame.ref, message, len(frame.text.encode()))

    async def _relay_binary(self, channel: JoinedChannel, push: BinaryPush) -> None:
        message: Outgoing
        if push.generic:
            if push.event != "broadcast":
                return
            message = GenericBroadcast(channel.topic, push.event, push.payload)
        else:
            message = UserBroadcast(channel.topic, push.event, push.payload, push.is_json)
        await self._broadcast(channel, push.ref, message, len(push.payload))

    async def _broadcast(self, channel: JoinedChannel, ref: Json, message: Outgoing, size_bytes: int) -> None:
        request = channel.request
        if not await self._writable(channel, "broadcast"):
            return
        if size_bytes > self._options.max_broadcast_bytes:
            if request.broadcast_ack:
                channel.reply(ref, "payload_size_exceeded", status="error")
            return
        self._hub.send(channel.key, message, sender=None if request.broadcast_self else channel)
        if request.broadcast_ack:
            channel.reply(ref, {})

    async def _writable(self, channel: JoinedChannel, extension: Extension) -> bool:
        if not channel.key.private:
            return True
        if extension not in channel.writable:
            caller = RealtimeCaller(channel.token, self._headers)
            try:
                allowed = await self._realtime.authorization.writable(caller, channel.key.name, extension)
            except DatabaseUnavailable:
                return False  # Not cached, so the next message checks again.
            channel.writable[extension] = allowed
        return channel.writable[extension]

    async def _presence(self, channel: JoinedChannel, ref: Json, event: str, meta: Json) -> None:
        if not channel.presence_calls.allows(time.monotonic()):
            channel.close("Client presence rate limit exceeded")
            return
        match event.lower():
            case "track":
                await self._track(channel, ref, meta)
            case "untrack":
                channel.reply(ref, {})
                channel.tracked = None
                self._hub.untrack(channel.key, channel)
            case _:
                channel.reply(ref, {}, status="error")

    async def _track(self, channel: JoinedChannel, ref: Json, meta: Json) -> None:
        if not await self._writable(channel, "presence"):
            channel.reply(ref, {}, status="error")
        elif not isinstance(meta, dict):
            channel.reply(ref, {"reason": "Presence track payload must be a map"}, status="error")
        elif len(dump(meta).encode()) > self._options.max_broadcast_bytes:
            channel.close("Track message size exceeded")
        else:
            channel.reply(ref, {})
            channel.tracks = True
            # An unchanged presence is not sent again.
            if (text := json.dumps(meta, sort_keys=True)) != channel.tracked:
                channel.tracked = text
                self._hub.track(channel.key, channel, channel.presence_key, meta)

    def _send(self, message: Push) -> None:
        # Replies of the socket itself do not wait for messages of its channels.
        self._mailbox.put_now(message.encode(self._version))


def _reply(frame: Incoming, response: Json, *, status: str = "ok", join_ref: Json = None) -> Push:
    payload = dump({"status": status, "response": response})
    return Push(frame.topic, "phx_reply", payload, ref=frame.ref, join_ref=join_ref)


def _with_ids(request: JoinRequest) -> list[Json]:
    return [
        {**binding, "id": binding_id(binding)} if isinstance(binding, dict) else binding for binding in request.bindings
    ]

"""Authorization of joins: checks tokens, limits and policies, and reads the messages to replay."""

import time
from collections.abc import Callable, Mapping
from typing import Final
from uuid import uuid4

import psycopg

from smelt.local.realtime.authorization import DatabaseUnavailable, RealtimeCaller
from smelt.local.realtime.channel import JoinedChannel
from smelt.local.realtime.hub import ChannelKey
from smelt.local.realtime.join import InvalidJoin, JoinRequest, parse_join
from smelt.local.realtime.mailbox import Mailbox
from smelt.local.realtime.presence import CallLimit
from smelt.local.realtime.protocol import TOPIC_PREFIX, Frame, Version
from smelt.local.realtime.server import Realtime
from smelt.local.realtime.tokens import InvalidRealtimeToken, Token, check_token
from smelt.pickling import PicklableError

_ALL_READABLE: Final = frozenset({"broadcast", "presence"})
_NO_DATABASE: Final = "UnableToConnectToProject: Realtime was unable to connect to the project database"


class TooManyJoins(PicklableError):
    """The clients of the project exceed the rate of joins."""


class Admission:
    """Admits channels of one socket; `token` is the key that it connected with."""

    def __init__(
        self, realtime: Realtime, version: Version, token: Token, headers: Mapping[str, str], mailbox: Mailbox
    ) -> None:
        self._realtime = realtime
        self._options = realtime.options
        self._version = version
        self._token = token
        self._headers = headers
        self._mailbox = mailbox

    async def admit(
        self, frame: Frame, joined_count: int, *, on_close: Callable[[JoinedChannel], None]
    ) -> JoinedChannel:
        """Return the channel for a join; raise InvalidJoin, or TooManyJoins, after which the socket must be closed."""
        name = frame.topic.removeprefix(TOPIC_PREFIX)
        if not name:
            raise InvalidJoin("TopicNameRequired: You must provide a topic name")
        request = parse_join(name, frame.payload)
        now = time.monotonic()
        if self._realtime.joins.exceeded(now):
            raise TooManyJoins
        self._realtime.joins.count(1, now)
        if joined_count >= self._options.max_channels:
            raise InvalidJoin("ChannelRateLimitReached: Too many channels")
        token = self._check(request)
        key = ChannelKey(name, request.private)
        readable = await self.readable(key, token)
        if "broadcast" not in readable:
            raise InvalidJoin(f"Unauthorized: {read_denied(name)}")
        channel = JoinedChannel(
            key=key,
            version=self._version,
            sink=self._mailbox,
            request=request,
            token=token,
            join_ref=frame.join_ref,
            reply_ref=frame.ref if frame.join_ref is None else frame.join_ref,
            presence_key=request.presence_key or str(uuid4()),
            presence_calls=CallLimit(self._options.max_presence_calls, self._options.presence_window_s),
            readable=readable,
            on_close=on_close,
        )
        if request.private:
            await self._realtime.wait_ready()
        await self._replay(channel)
        return channel

    async def readable(self, key: ChannelKey, token: Token) -> frozenset[str]:
        """Return the extensions of a channel that a token may read; raise InvalidJoin without a database."""
        if not key.private:
            return _ALL_READABLE
        try:
            return await self._realtime.authorization.readable(RealtimeCaller(token, self._headers), key.name)
        except DatabaseUnavailable as error:
            raise InvalidJoin(_NO_DATABASE) from error

    def _check(self, request: JoinRequest) -> Token:
        given = request.access_token
        text = self._token.text if given is None or given.startswith("sb_") else given
        try:
            return check_token(self._options.keys, text, time.time())
        except InvalidRealtimeToken as error:
            raise InvalidJoin(error.on_join) from error

    async def _replay(self, channel: JoinedChannel) -> None:
        """Read the messages to replay, if requested, and withhold messages that are sent meanwhile."""
        replay = channel.request.replay
        if replay is None:
            return
        channel.withheld = []
        hub = self._realtime.hub
        hub.add(channel.key, channel)
        try:
            channel.replayed = await self._realtime.replays.read(channel.key.name, replay, channel.reply_ref)
        except BaseException as error:
            hub.remove(channel.key, channel)
            if isinstance(error, psycopg.Error):
                raise InvalidJoin("UnableToReplayMessages: Replay params are not valid") from error
            raise


def read_denied(name: str) -> str:
    """Return the error message for a channel that the caller may not read."""
    return f"You do not have permissions to read from this Channel topic: {name}"

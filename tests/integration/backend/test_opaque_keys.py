"""With an opaque key, the gateway issues a token for each connection: when it expires, another socket brings a new one.

No `access_token` is passed here, so that the key alone has to do.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus

import pytest
from connections import LONG_HEARTBEAT, ChannelRecorder, project
from scripted_realtime import Frame, FrameHandler, ScriptedRealtime, reply, send
from waiting import until
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from smelt.backend.realtime import Channel, RealtimeTimings
from smelt.errors import Unauthorized

EXPIRED = "Token has expired 0 seconds ago"
NOT_ALLOWED = "Unauthorized: You do not have permissions to read from this Channel topic: x"
QUICK_JOINS = RealtimeTimings(heartbeat_interval_s=60, joins_per_second=10_000)


async def expire(socket: ServerConnection, channels: Sequence[Channel]) -> None:
    """Close channels as the server does when the token that they were joined with expires."""
    with suppress(ConnectionClosed):  # The client closes the socket after the first one.
        for channel in channels:
            topic = f"realtime:{channel.topic}"
            payload = {"message": EXPIRED, "status": "error", "extension": "system", "channel": channel.topic}
            await send(socket, topic, "system", payload)
            await send(socket, topic, "phx_close", {})


def refusing(reason: str, when: Callable[[Frame], bool]) -> FrameHandler:
    """Refuse the joins for which a condition holds."""

    async def refuse(socket: ServerConnection, frame: Frame) -> bool:
        if frame["event"] != "phx_join" or not when(frame):
            return False
        await reply(socket, frame, "error", {"reason": reason})
        return True

    return refuse


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of failures after which the connection or a channel waited; it does not wait in fact."""
    waits: list[int] = []
    for module in ("connection", "supervised_channel"):
        monkeypatch.setattr(f"smelt.backend.realtime.{module}.reconnect_wait_s", lambda n: waits.append(n) or 0.0)
    return waits


async def test_an_expired_token_retires_the_socket_and_all_channels_rejoin_on_a_new_one(
    server: ScriptedRealtime, waits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smelt.backend.realtime.policy._MIN_TOKEN_LIFETIME_S", 0.0)
    async with project(server, timings=LONG_HEARTBEAT) as opened:
        callbacks = [ChannelRecorder() for _ in range(5)]
        channels = [await opened.realtime.join(f"smelt:{n}", **ear.callbacks) for n, ear in enumerate(callbacks)]
        assert all([await channel.wait_joined(10) for channel in channels])
        for count in range(1, 4):
            await expire(server.sockets[-1], channels)
            await until(lambda count=count: all(channel.rejoin_count == count for channel in channels))
            assert server.opened_count == 1 + count
        await until(lambda: len(server.sockets) == 1)
        await server.broadcast("smelt:4", "progress", {"n": 1})
        await until(lambda: callbacks[4].messages)
        assert [ear.leave_errors for ear in callbacks] == [[None] * 3] * 5
        assert opened.realtime.report().last_error == EXPIRED
        assert waits == []


async def test_a_join_refused_for_an_expired_token_is_repeated_on_a_new_socket(
    server: ScriptedRealtime, waits: list[int]
) -> None:
    async with project(server, timings=LONG_HEARTBEAT) as opened:
        first = await opened.realtime.join("smelt:a")
        assert await first.wait_joined(10)
        server.on_frame = refusing(f"InvalidJWTToken: {EXPIRED}", lambda _: server.opened_count == 1)
        second = await opened.realtime.join("smelt:b")
        assert await second.wait_joined(10)
        await until(lambda: first.rejoin_count == 1)
        assert (server.opened_count, second.error) == (2, None)


async def test_a_token_refused_right_after_a_fresh_dial_surfaces(server: ScriptedRealtime, waits: list[int]) -> None:
    async with project(server, timings=LONG_HEARTBEAT) as opened:
        channels = [await opened.realtime.join(f"smelt:{number}") for number in range(3)]
        assert all([await channel.wait_joined(10) for channel in channels])
        server.on_frame = refusing(f"InvalidJWTToken: {EXPIRED}", lambda _: True)
        await expire(server.sockets[0], channels)
        await until(lambda: all(isinstance(channel.error, Unauthorized) for channel in channels))
        assert server.opened_count <= 1 + len(channels)


async def test_a_key_revoked_while_connected_surfaces_on_every_channel_after_a_few_dials(
    server: ScriptedRealtime, waits: list[int]
) -> None:
    async with project(server, timings=QUICK_JOINS) as opened:
        callbacks = [ChannelRecorder() for _ in range(150)]
        channels = [await opened.realtime.join(f"smelt:{n}", **ear.callbacks) for n, ear in enumerate(callbacks)]
        assert all([await channel.wait_joined(30) for channel in channels])
        server.reject_with = HTTPStatus.UNAUTHORIZED
        dialed_before = server.dial_count
        for socket in list(server.sockets):
            await expire(socket, channels)
        await until(lambda: all(isinstance(channel.error, Unauthorized) for channel in channels))
        assert all(isinstance(ear.leave_errors[-1], Unauthorized) for ear in callbacks)
        assert 1 <= server.dial_count - dialed_before <= 10
        assert opened.realtime.state == "disconnected"


async def test_each_socket_is_replaced_when_its_own_token_expires(server: ScriptedRealtime, waits: list[int]) -> None:
    async with project(server, timings=QUICK_JOINS) as opened:
        channels = [await opened.realtime.join(f"smelt:{number}") for number in range(250)]
        assert all([await channel.wait_joined(30) for channel in channels])
        assert server.opened_count == 3
        await expire(server.sockets[0], channels)
        await until(lambda: sum(channel.rejoin_count for channel in channels) >= 100)
        assert sorted(channel.rejoin_count for channel in channels) == [0] * 150 + [1] * 100
        for socket in list(server.sockets):
            await expire(socket, channels)
        await until(lambda: all(channel.joined and channel.rejoin_count for channel in channels))
        assert not any(channel.error for channel in channels)


async def test_a_channel_that_is_not_allowed_does_not_cost_the_others_their_socket(
    server: ScriptedRealtime, waits: list[int]
) -> None:
    server.on_frame = refusing(NOT_ALLOWED, lambda frame: frame["topic"] == "realtime:smelt:x")
    async with project(server, timings=LONG_HEARTBEAT) as opened:
        allowed = await opened.realtime.join("smelt:a")
        assert await allowed.wait_joined(10)
        foreign = await opened.realtime.join("smelt:x")
        assert not await foreign.wait_joined(10)
        assert isinstance(foreign.error, Unauthorized)
        assert (allowed.joined, allowed.rejoin_count, server.opened_count) == (True, 0, 1)


async def test_tokens_that_expire_as_soon_as_they_are_issued_are_replaced_ever_more_slowly(
    server: ScriptedRealtime, waits: list[int]
) -> None:
    async def take_and_expire(socket: ServerConnection, frame: Frame) -> bool:
        if frame["event"] != "phx_join":
            return False
        await reply(socket, frame)
        await expire(socket, [channel])
        return True

    async with project(server, timings=LONG_HEARTBEAT) as opened:
        channel = await opened.realtime.join("smelt:a")
        server.on_frame = take_and_expire
        await until(lambda: len(waits) >= 5)
        assert waits[:5] == [1, 2, 3, 4, 5]
        assert channel.error is None


async def test_expired_tokens_do_not_count_as_failures_of_a_channel(
    server: ScriptedRealtime, waits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smelt.backend.realtime.policy._MIN_TOKEN_LIFETIME_S", 0.0)
    async with project(server, timings=LONG_HEARTBEAT) as opened:
        channel = await opened.realtime.join("smelt:a")
        for count in range(5):
            await until(lambda count=count: channel.joined and channel.rejoin_count == count)
            await expire(server.sockets[-1], [channel])
        await until(lambda: channel.joined and channel.rejoin_count == 5 and len(server.sockets) == 1)
        await server.send_to_all("smelt:a", "phx_close", {})
        await until(lambda: channel.rejoin_count == 6)
        assert waits == [1]

"""With an opaque key, the gateway issues a token for each connection; a new socket replaces it when it expires.

No `access_token` is passed in these tests.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from smelt.backend.realtime import Channel, RealtimeTimings
from smelt.errors import Unauthorized
from tests.harness.waiting import until
from tests.integration.backend.connections import LONG_HEARTBEAT, ChannelRecorder, project
from tests.integration.backend.scripted_realtime import Frame, FrameHandler, ScriptedRealtime, reply, send

EXPIRED = "Token has expired 0 seconds ago"
NOT_ALLOWED = "Unauthorized: You do not have permissions to read from this Channel topic: x"
QUICK_JOINS = RealtimeTimings(heartbeat_interval_s=60, joins_per_second=10_000)


async def expire(socket: ServerConnection, channels: Sequence[Channel]) -> None:
    """Close channels as the server does when the token of their joins expires."""
    with suppress(ConnectionClosed):  # The client closes the socket after the first one.
        for channel in channels:
            topic = f"realtime:{channel.topic}"
            payload = {"message": EXPIRED, "status": "error", "extension": "system", "channel": channel.topic}
            await send(socket, topic, "system", payload)
            await send(socket, topic, "phx_close", {})


def rejecting(reason: str, when: Callable[[Frame], bool]) -> FrameHandler:
    """Return a handler that rejects the joins for which `when` is true."""

    async def reject(socket: ServerConnection, frame: Frame) -> bool:
        if frame["event"] != "phx_join" or not when(frame):
            return False
        await reply(socket, frame, "error", {"reason": reason})
        return True

    return reject


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of failures for which a backoff was requested; the backoff itself is skipped."""
    waits: list[int] = []
    for module in ("connection", "channel"):
        monkeypatch.setattr(f"smelt.backend.realtime.{module}.reconnect_wait_s", lambda n: waits.append(n) or 0.0)
    return waits


async def test_token_expiry_rejoins_all_channels_on_a_new_socket(
    server: ScriptedRealtime, waits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("smelt.backend.realtime.policy._MIN_TOKEN_LIFETIME_S", 0.0)
    async with project(server, timings=LONG_HEARTBEAT) as opened:
        recorders = [ChannelRecorder() for _ in range(5)]
        channels = [
            await opened.realtime.join(f"smelt:{n}", recorder.events.append) for n, recorder in enumerate(recorders)
        ]
        assert all([await channel.wait_joined(10) for channel in channels])
        for count in range(1, 4):
            await expire(server.sockets[-1], channels)
            await until(lambda count=count: all(channel.rejoin_count == count for channel in channels))
            assert server.opened_count == 1 + count
        await until(lambda: len(server.sockets) == 1)
        await server.broadcast("smelt:4", "progress", {"n": 1})
        await until(lambda: recorders[4].messages)
        assert [(recorder.left_count, recorder.errors) for recorder in recorders] == [(3, [])] * 5
        assert opened.realtime.report().last_error == EXPIRED
        assert waits == []


async def test_join_rejected_for_an_expired_token_is_retried_on_a_new_socket(
    server: ScriptedRealtime, waits: list[int]
) -> None:
    async with project(server, timings=LONG_HEARTBEAT) as opened:
        first = await opened.realtime.join("smelt:a")
        assert await first.wait_joined(10)
        server.on_frame = rejecting(f"InvalidJWTToken: {EXPIRED}", lambda _: server.opened_count == 1)
        second = await opened.realtime.join("smelt:b")
        assert await second.wait_joined(10)
        await until(lambda: first.rejoin_count == 1)
        assert (server.opened_count, second.error) == (2, None)


async def test_token_rejected_on_a_new_socket_ends_the_channels_as_unauthorized(
    server: ScriptedRealtime, waits: list[int]
) -> None:
    async with project(server, timings=LONG_HEARTBEAT) as opened:
        channels = [await opened.realtime.join(f"smelt:{number}") for number in range(3)]
        assert all([await channel.wait_joined(10) for channel in channels])
        server.on_frame = rejecting(f"InvalidJWTToken: {EXPIRED}", lambda _: True)
        await expire(server.sockets[0], channels)
        await until(lambda: all(isinstance(channel.error, Unauthorized) for channel in channels))
        assert server.opened_count <= 1 + len(channels)


async def test_key_revoked_while_connected_ends_every_channel_after_few_handshakes(
    server: ScriptedRealtime, waits: list[int]
) -> None:
    async with project(server, timings=QUICK_JOINS) as opened:
        recorders = [ChannelRecorder() for _ in range(150)]
        channels = [
            await opened.realtime.join(f"smelt:{n}", recorder.events.append) for n, recorder in enumerate(recorders)
        ]
        assert all([await channel.wait_joined(30) for channel in channels])
        server.reject_with = HTTPStatus.UNAUTHORIZED
        handshakes_before = server.handshake_count
        for socket in list(server.sockets):
            await expire(socket, channels)
        await until(lambda: all(isinstance(channel.error, Unauthorized) for channel in channels))
        assert all(isinstance(recorder.errors[-1], Unauthorized) for recorder in recorders)
        assert 1 <= server.handshake_count - handshakes_before <= 10
        assert opened.realtime.state == "disconnected"


async def test_socket_is_replaced_only_when_its_own_token_expires(server: ScriptedRealtime, waits: list[int]) -> None:
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


async def test_join_without_permission_does_not_close_the_socket_of_others(
    server: ScriptedRealtime, waits: list[int]
) -> None:
    server.on_frame = rejecting(NOT_ALLOWED, lambda frame: frame["topic"] == "realtime:smelt:x")
    async with project(server, timings=LONG_HEARTBEAT) as opened:
        allowed = await opened.realtime.join("smelt:a")
        assert await allowed.wait_joined(10)
        foreign = await opened.realtime.join("smelt:x")
        assert not await foreign.wait_joined(10)
        assert isinstance(foreign.error, Unauthorized)
        assert (allowed.joined, allowed.rejoin_count, server.opened_count) == (True, 0, 1)


async def test_backoff_grows_while_issued_tokens_expire_at_once(server: ScriptedRealtime, waits: list[int]) -> None:
    async def accept_and_expire(socket: ServerConnection, frame: Frame) -> bool:
        if frame["event"] != "phx_join":
            return False
        await reply(socket, frame)
        await expire(socket, [channel])
        return True

    async with project(server, timings=LONG_HEARTBEAT) as opened:
        channel = await opened.realtime.join("smelt:a")
        server.on_frame = accept_and_expire
        await until(lambda: len(waits) >= 5)
        assert waits[:5] == [1, 2, 3, 4, 5]
        assert channel.error is None


async def test_token_expiry_does_not_count_as_a_failure_of_a_channel(
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

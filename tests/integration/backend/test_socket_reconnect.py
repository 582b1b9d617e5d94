"""The Realtime connection replaces broken sockets."""

import logging
import re
import time
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from smelt.backend.realtime import RealtimeTimings
from smelt.errors import Unauthorized
from tests.harness.waiting import until
from tests.integration.backend.connections import LONG_HEARTBEAT, ChannelRecorder, project
from tests.integration.backend.scripted_realtime import Frame, ScriptedRealtime

pytestmark = pytest.mark.usefixtures("no_backoff")


async def abort(socket: ServerConnection) -> None:
    socket.transport.abort()


async def frame_over_a_mebibyte(socket: ServerConnection) -> None:
    await socket.send("x" * (1 << 21))


def close_with(code: int) -> Any:
    async def close(socket: ServerConnection) -> None:
        await socket.close(code)

    return close


@pytest.mark.parametrize(
    "break_socket",
    [abort, frame_over_a_mebibyte, *(close_with(code) for code in (1000, 1001, 1008, 1011, 1012, 1013, 4000))],
    ids=["1006", "1009", "1000", "1001", "1008", "1011", "1012", "1013", "4000"],
)
async def test_reconnect_rejoins_the_channels_of_a_broken_socket(server: ScriptedRealtime, break_socket: Any) -> None:
    async with project(server, timings=LONG_HEARTBEAT) as opened:
        recorder = ChannelRecorder()
        channel = await opened.realtime.join("smelt:a", recorder.events.append)
        assert await channel.wait_joined(5)
        await break_socket(server.sockets[0])
        await until(lambda: recorder.joined_count == 2)
        assert (recorder.left_count, recorder.errors) == (1, [])
        await server.broadcast("smelt:a", "progress", {"n": 1})
        await until(lambda: recorder.messages == [("progress", {"n": 1})])
        assert opened.realtime.report().reconnect_count == 1


@pytest.mark.parametrize("text", ["not JSON", "[1, 2]", '{"topic": "realtime:smelt:a"}', '{"event": 1}', ""])
async def test_malformed_frames_are_ignored(server: ScriptedRealtime, text: str) -> None:
    async with project(server) as opened:
        recorder = ChannelRecorder()
        channel = await opened.realtime.join("smelt:a", recorder.events.append)
        assert await channel.wait_joined(5)
        await server.sockets[0].send(text)
        await server.broadcast("smelt:a", "progress", {})
        await until(lambda: recorder.messages)
        assert server.opened_count == 1


@pytest.mark.parametrize("break_socket", [abort, close_with(1000), close_with(1012)], ids=["1006", "1000", "1012"])
async def test_log_of_a_reconnect_contains_no_token_payload_or_warning(
    server: ScriptedRealtime, caplog: pytest.LogCaptureFixture, break_socket: Any
) -> None:
    """The log contains no tokens and no payloads at any level, and no warning about a handled disconnect."""

    async def token() -> str:
        return "a-token"

    caplog.set_level(logging.DEBUG)
    async with project(server, timings=LONG_HEARTBEAT, access_token=token) as opened:
        recorder = ChannelRecorder()
        channel = await opened.realtime.join("smelt:a", recorder.events.append)
        assert await channel.wait_joined(30)
        await server.broadcast("smelt:a", "segments", {"text": "my-words"})
        await server.sockets[0].send('{"event": "segments", "text": "my-words"}')
        await until(lambda: recorder.messages)
        await channel.send("progress", {"text": "my-words"})
        await break_socket(server.sockets[0])
        await until(lambda: recorder.joined_count == 2)
        await channel.leave()
    ours = [record for record in caplog.records if not record.name.startswith("websockets.server")]
    assert not [record for record in ours if "my-words" in record.getMessage() or "a-token" in record.getMessage()]
    assert not [record for record in ours if record.levelno > logging.INFO]


async def test_heartbeat_timeout_reconnects(server: ScriptedRealtime) -> None:
    async def swallow(_: ServerConnection, frame: Frame) -> bool:
        return frame["event"] == "heartbeat" and server.opened_count == 1

    server.on_frame = swallow
    async with project(server) as opened:
        recorder = ChannelRecorder()
        await opened.realtime.join("smelt:a", recorder.events.append)
        await until(lambda: recorder.joined_count == 2)
        assert opened.realtime.report().last_error == "no reply to a heartbeat"


async def test_heartbeat_replies_keep_the_socket(server: ScriptedRealtime) -> None:
    async with project(server) as opened:
        recorder = ChannelRecorder()
        await opened.realtime.join("smelt:a", recorder.events.append)
        await until(lambda: sum(frame["event"] == "heartbeat" for frame in server.frames) >= 4)
        assert server.opened_count == 1


async def test_join_timeout_is_retried_on_another_socket(server: ScriptedRealtime) -> None:
    async def swallow(socket: ServerConnection, frame: Frame) -> bool:
        return frame["event"] == "phx_join" and socket is server.sockets[0] and server.opened_count == 1

    server.on_frame = swallow
    async with project(server) as opened:
        channel = await opened.realtime.join("smelt:a")
        assert await channel.wait_joined(10)
        assert server.opened_count == 2


async def test_recycle_replaces_a_socket_after_recycle_s(server: ScriptedRealtime) -> None:
    async with project(server, timings=RealtimeTimings(recycle_s=0.5, joins_per_second=1000)) as opened:
        recorder = ChannelRecorder()
        await opened.realtime.join("smelt:a", recorder.events.append)
        await until(lambda: recorder.joined_count >= 3)


async def test_reconnect_retries_a_gateway_error_but_not_a_rejected_key(server: ScriptedRealtime) -> None:
    server.reject_with = HTTPStatus.SERVICE_UNAVAILABLE
    async with project(server) as opened:
        channel = await opened.realtime.join("smelt:a")
        await until(lambda: opened.realtime.report().failures_in_a_row >= 3)
        assert opened.realtime.state == "disconnected"
        server.reject_with = None
        assert await channel.wait_joined(5)
        assert opened.realtime.state == "connected"
    server.reject_with = HTTPStatus.UNAUTHORIZED
    async with project(server) as opened:
        channel = await opened.realtime.join("smelt:a")
        assert not await channel.wait_joined(5)
        assert isinstance(channel.error, Unauthorized)


async def test_channels_share_as_few_sockets_as_needed(server: ScriptedRealtime) -> None:
    async with project(server, timings=RealtimeTimings(joins_per_second=10_000)) as opened:
        channels = [await opened.realtime.join(f"smelt:{number}") for number in range(250)]
        assert all([await channel.wait_joined(20) for channel in channels])
        assert server.opened_count == 3
        for channel in channels[1:]:
            await channel.leave()
        await until(lambda: len(server.sockets) == 1)
        await channels[0].leave()
        await until(lambda: not server.sockets)


async def test_join_rate_is_limited_to_joins_per_second(server: ScriptedRealtime) -> None:
    """The joins of the first second are immediate; later ones never earlier than the rate allows."""
    async with project(server, timings=RealtimeTimings(joins_per_second=20)) as opened:
        began_at = time.monotonic()
        channels = [await opened.realtime.join(f"smelt:{number}") for number in range(30)]
        assert all([await channel.wait_joined(30) for channel in channels])
        assert time.monotonic() >= began_at + 10 / 20


async def test_connection_state_changes_are_reported_in_order(server: ScriptedRealtime) -> None:
    async with project(server) as opened:
        states: list[str] = []
        stop = opened.realtime.add_state_listener(states.append)
        channel = await opened.realtime.join("smelt:a")
        assert await channel.wait_joined(5)
        await channel.leave()
        await until(lambda: opened.realtime.state == "disconnected")
        assert states == ["connecting", "connected", "disconnected"]
        stop()
        stop()


async def test_log_of_a_reconnect_has_five_lines_for_any_number_of_channels(
    server: ScriptedRealtime, caplog: pytest.LogCaptureFixture
) -> None:
    async with project(server, timings=LONG_HEARTBEAT) as opened:
        channels = [await opened.realtime.join(f"smelt:{number}") for number in range(40)]
        assert all([await channel.wait_joined(10) for channel in channels])
        caplog.set_level(logging.INFO, "smelt")
        caplog.clear()
        server.reject_with = HTTPStatus.SERVICE_UNAVAILABLE
        await server.sockets[0].close(1012)
        await until(lambda: opened.realtime.report().failures_in_a_row >= 2)
        server.reject_with = None
        await until(lambda: all(channel.rejoin_count for channel in channels))
        messages = [record.getMessage() for record in caplog.records if record.name.startswith("smelt")]

    steps = [re.sub(r"\d+(\.\d)? s|attempt \d+", "...", line) for line in messages]
    assert list(dict.fromkeys(steps)) == [  # The second and third are repeated for each attempt.
        "lost a Realtime socket with 40 channels after ...: closed with 1012",
        "reconnecting to Realtime in ..., ...",
        "opening a Realtime socket: HTTP 503",
        "opened Realtime socket 1",
        "all channels are joined again after ...",
    ]
    attempts = [line.rsplit(" ", 1)[1] for line in messages if line.startswith("reconnecting")]
    assert attempts == [str(number) for number in range(1, len(attempts) + 1)]
    assert len(messages) == 3 + 2 * len(attempts) - 1

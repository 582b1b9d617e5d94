"""The Realtime connection keeps its channels joined, or reports why it cannot."""

import asyncio

import pytest
from websockets.asyncio.server import ServerConnection

from smelt.backend.realtime import RealtimeTimings
from smelt.errors import RequestRejected, Unauthorized
from tests.harness.waiting import until
from tests.integration.backend.connections import ChannelRecorder, project
from tests.integration.backend.scripted_realtime import Frame, ScriptedRealtime, reply, send

pytestmark = pytest.mark.usefixtures("no_backoff")


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        ("phx_close", {}),
        ("phx_error", {"reason": "crashed"}),
        ("system", {"status": "error", "message": "went wrong", "extension": "system", "channel": "smelt:a"}),
    ],
)
async def test_rejoin_after_a_server_close_keeps_other_channels_joined(
    server: ScriptedRealtime, event: str, payload: Frame
) -> None:
    async with project(server) as opened:
        recorder, other = ChannelRecorder(), ChannelRecorder()
        channel = await opened.realtime.join("smelt:a", recorder.events.append)
        other_channel = await opened.realtime.join("smelt:b", other.events.append)
        assert await channel.wait_joined(5)
        assert await other_channel.wait_joined(5)
        await server.send_to_all("smelt:a", event, payload)
        await until(lambda: recorder.joined_count == 2)
        # A late `phx_close` of the first join has no effect.
        await send(server.sockets[0], "realtime:smelt:a", "phx_close", {})
        await server.broadcast("smelt:a", "progress", {})
        await until(lambda: recorder.messages == [("progress", {})])
        assert (recorder.joined_count, other.joined_count, other.left_count) == (2, 1, 0)


async def test_join_rejected_as_unauthorized_ends_the_channel_with_its_error(server: ScriptedRealtime) -> None:
    async def reject(socket: ServerConnection, frame: Frame) -> bool:
        if frame["event"] != "phx_join" or frame["topic"] != "realtime:smelt:a":
            return False
        await reply(socket, frame, "error", {"reason": "Unauthorized: You do not have permissions to read"})
        return True

    server.on_frame = reject
    async with project(server) as opened:
        recorder = ChannelRecorder()
        channel = await opened.realtime.join("smelt:a", recorder.events.append)
        other_channel = await opened.realtime.join("smelt:b")
        assert not await channel.wait_joined(5)
        assert await other_channel.wait_joined(5)
        assert [type(error) for error in recorder.errors] == [Unauthorized]
        assert len(server.joins("smelt:a")) == 1
        assert isinstance(channel.error, Unauthorized)


async def test_join_with_an_invalid_topic_ends_with_a_permanent_error(server: ScriptedRealtime) -> None:
    async def reject(socket: ServerConnection, frame: Frame) -> bool:
        if frame["event"] != "phx_join":
            return False
        await reply(socket, frame, "error", {"reason": "TopicNameRequired: You must provide a topic name"})
        return True

    server.on_frame = reject
    async with project(server) as opened:
        channel = await opened.realtime.join("")
        assert not await channel.wait_joined(5)
        assert isinstance(channel.error, RequestRejected)


@pytest.mark.parametrize("reason", ["ChannelRateLimitReached: Too many channels", "unmatched topic", "Unknown"])
async def test_join_retry_after_a_transient_rejection_uses_the_same_socket(
    server: ScriptedRealtime, reason: str
) -> None:
    async def reject(socket: ServerConnection, frame: Frame) -> bool:
        if frame["event"] != "phx_join" or len(server.joins()) not in (2, 3):
            return False
        await reply(socket, frame, "error", {"reason": reason})
        return True

    server.on_frame = reject
    async with project(server) as opened:
        joined_channel = await opened.realtime.join("smelt:joined")
        assert await joined_channel.wait_joined(10)
        channel = await opened.realtime.join("smelt:a")
        assert await channel.wait_joined(10)
        assert len(server.joins("smelt:a")) == 3
        assert server.opened_count == 1


async def test_rate_limit_on_a_join_delays_the_next_join(
    server: ScriptedRealtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits_s: list[float] = []

    async def reject_once(socket: ServerConnection, frame: Frame) -> bool:
        if frame["event"] != "phx_join" or len(server.joins()) > 1:
            return False
        await reply(socket, frame, "error", {"reason": "ClientJoinRateLimitReached: Too many joins per second"})
        return True

    async def pause(seconds: float) -> None:
        waits_s.append(seconds)

    monkeypatch.setattr("smelt.backend.realtime.channel.pause", pause)
    server.on_frame = reject_once
    async with project(server, timings=RealtimeTimings(rate_limit_delay_s=30)) as opened:
        channel = await opened.realtime.join("smelt:a")
        assert await channel.wait_joined(30)
    assert [seconds >= 30 for seconds in waits_s] == [True]


async def test_broadcast_counts_as_sent_only_when_acknowledged(server: ScriptedRealtime) -> None:
    async def swallow(socket: ServerConnection, frame: Frame) -> bool:
        if frame["event"] != "broadcast":
            return False
        match frame["payload"]["event"]:
            case "acknowledged":
                return False
            case "rejected":
                await reply(socket, frame, "error", {"reason": "no"})
            case "cut":
                socket.transport.abort()
        return True

    server.on_frame = swallow
    async with project(server) as opened:
        channel = await opened.realtime.join("smelt:a")
        assert not await channel.send("acknowledged", {})  # Not joined yet.
        assert await channel.wait_joined(5)
        assert await channel.send("acknowledged", {"n": 1})
        assert not await channel.send("rejected", {})
        assert not await channel.send("lost", {}, timeout_s=0.1)
        assert not await channel.send("cut", {}, timeout_s=30)
        sent = next(frame for frame in server.frames if frame["event"] == "broadcast")
        assert sent["payload"] == {"type": "broadcast", "event": "acknowledged", "payload": {"n": 1}}
        assert server.joins()[0]["payload"]["config"]["private"] is True


async def test_callback_that_raises_does_not_affect_other_channels(server: ScriptedRealtime) -> None:
    def raise_error(*_: object) -> None:
        raise ZeroDivisionError

    async with project(server) as opened:
        recorder = ChannelRecorder()
        opened.realtime.add_state_listener(raise_error)
        broken = await opened.realtime.join("smelt:a", raise_error)
        channel = await opened.realtime.join("smelt:b", recorder.events.append)
        assert await broken.wait_joined(5)
        assert await channel.wait_joined(5)
        await server.broadcast("smelt:a", "progress", {})
        await server.broadcast("smelt:b", "progress", {})
        await until(lambda: recorder.messages)
        await server.sockets[0].close(1012)
        await until(lambda: recorder.joined_count == 2)
        assert await broken.wait_joined(5)


async def test_rejoin_right_after_leave_works(server: ScriptedRealtime) -> None:
    async with project(server) as opened:
        joined_channel = await opened.realtime.join("smelt:joined")
        assert await joined_channel.wait_joined(5)
        for _ in range(3):
            recorder = ChannelRecorder()
            channel = await opened.realtime.join("smelt:a", recorder.events.append)
            assert await channel.wait_joined(5)
            await server.broadcast("smelt:a", "progress", {})
            await until(lambda recorder=recorder: recorder.messages)
            await channel.leave()
        assert not channel.joined
        assert not await channel.send("progress", {})


async def test_join_of_one_topic_is_shared_by_its_subscribers(server: ScriptedRealtime) -> None:
    async with project(server) as opened:
        first, second = ChannelRecorder(), ChannelRecorder()
        one = await opened.realtime.join("smelt:a", first.events.append)
        assert await one.wait_joined(5)
        two = await opened.realtime.join("smelt:a", second.events.append)
        await until(lambda: second.joined_count == 1)
        await server.broadcast("smelt:a", "progress", {})
        await until(lambda: first.messages and second.messages)
        assert (len(server.joins()), first.joined_count) == (1, 1)
        await one.leave()
        await one.leave()
        await server.broadcast("smelt:a", "progress", {})
        await until(lambda: len(second.messages) == 2)
        assert len(first.messages) == 1
        await two.leave()
        await until(lambda: not server.sockets)


async def test_join_followed_by_leave_delivers_nothing(server: ScriptedRealtime) -> None:
    async with project(server) as opened:
        joined_channel = await opened.realtime.join("smelt:a")
        assert await joined_channel.wait_joined(5)
        recorder = ChannelRecorder()
        brief = await opened.realtime.join("smelt:a", recorder.events.append)
        await brief.leave()
        await server.broadcast("smelt:a", "progress", {})
        await joined_channel.leave()
        assert recorder.events == []


@pytest.mark.parametrize("steps", range(40))
async def test_leave_at_any_step_of_a_join_releases_the_channel(server: ScriptedRealtime, steps: int) -> None:
    async with project(server) as opened:
        channel = await opened.realtime.join("smelt:a")
        for _ in range(steps):
            await asyncio.sleep(0)
        await channel.leave()
        assert opened.realtime.report().channel_count == 0

"""The Realtime connection keeps its channels joined, or says why they can't be."""

import asyncio

import pytest
from connections import Ear, project
from scripted_realtime import Frame, ScriptedRealtime, reply, send
from waiting import until
from websockets.asyncio.server import ServerConnection

from smelt.backend.realtime import Pace, membership
from smelt.errors import RequestRefused, Unauthorized

pytestmark = pytest.mark.usefixtures("at_once")


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        ("phx_close", {}),
        ("phx_error", {"reason": "crashed"}),
        ("system", {"status": "error", "message": "went wrong", "extension": "system", "channel": "smelt:a"}),
    ],
)
async def test_a_channel_that_the_server_ends_is_joined_again_elsewhere(
    server: ScriptedRealtime, event: str, payload: Frame
) -> None:
    async with project(server) as opened:
        ear, other = Ear(), Ear()
        channel = await opened.realtime.join("smelt:a", **ear.callbacks)
        neighbour = await opened.realtime.join("smelt:b", **other.callbacks)
        assert await channel.wait_joined(5)
        assert await neighbour.wait_joined(5)
        await server.tell("smelt:a", event, payload)
        await until(lambda: ear.joined_count == 2)
        # A late `phx_close` of the first stay reaches nobody.
        await send(server.sockets[0], "realtime:smelt:a", "phx_close", {})
        await server.broadcast("smelt:a", "progress", {})
        await until(lambda: ear.messages == [("progress", {})])
        assert (ear.joined_count, other.joined_count, other.left) == (2, 1, [])


async def test_a_refused_channel_is_given_up_with_a_typed_error(server: ScriptedRealtime) -> None:
    async def refuse(socket: ServerConnection, frame: Frame) -> bool:
        if frame["event"] != "phx_join" or frame["topic"] != "realtime:smelt:a":
            return False
        await reply(socket, frame, "error", {"reason": "Unauthorized: You do not have permissions to read"})
        return True

    server.on_frame = refuse
    async with project(server) as opened:
        ear = Ear()
        channel = await opened.realtime.join("smelt:a", **ear.callbacks)
        neighbour = await opened.realtime.join("smelt:b")
        assert not await channel.wait_joined(5)
        assert await neighbour.wait_joined(5)
        assert [type(error) for error in ear.left] == [Unauthorized]
        assert len(server.joins("smelt:a")) == 1
        assert isinstance(channel.error, Unauthorized)


async def test_a_channel_that_never_can_be_joined_is_given_up(server: ScriptedRealtime) -> None:
    async def refuse(socket: ServerConnection, frame: Frame) -> bool:
        if frame["event"] != "phx_join":
            return False
        await reply(socket, frame, "error", {"reason": "TopicNameRequired: You must provide a topic name"})
        return True

    server.on_frame = refuse
    async with project(server) as opened:
        channel = await opened.realtime.join("")
        assert not await channel.wait_joined(5)
        assert isinstance(channel.error, RequestRefused)


@pytest.mark.parametrize("reason", ["ChannelRateLimitReached: Too many channels", "unmatched topic", "Unknown"])
async def test_a_passing_refusal_is_joined_again_on_the_same_socket(server: ScriptedRealtime, reason: str) -> None:
    async def refuse(socket: ServerConnection, frame: Frame) -> bool:
        if frame["event"] != "phx_join" or len(server.joins()) not in (2, 3):
            return False
        await reply(socket, frame, "error", {"reason": reason})
        return True

    server.on_frame = refuse
    async with project(server) as opened:
        stays = await opened.realtime.join("smelt:stays")
        assert await stays.wait_joined(10)
        channel = await opened.realtime.join("smelt:a")
        assert await channel.wait_joined(10)
        assert len(server.joins("smelt:a")) == 3
        assert server.opened_count == 1


async def test_a_rate_limit_is_waited_out(server: ScriptedRealtime, monkeypatch: pytest.MonkeyPatch) -> None:
    waits_s: list[float] = []

    async def refuse_once(socket: ServerConnection, frame: Frame) -> bool:
        if frame["event"] != "phx_join" or len(server.joins()) > 1:
            return False
        await reply(socket, frame, "error", {"reason": "ClientJoinRateLimitReached: Too many joins per second"})
        return True

    async def pause(seconds: float) -> None:
        waits_s.append(seconds)

    monkeypatch.setattr(membership, "pause", pause)
    server.on_frame = refuse_once
    async with project(server, pace=Pace(rate_limit_wait_s=30)) as opened:
        channel = await opened.realtime.join("smelt:a")
        assert await channel.wait_joined(30)
    assert [seconds >= 30 for seconds in waits_s] == [True]


async def test_a_broadcast_counts_as_sent_only_when_it_was_acknowledged(server: ScriptedRealtime) -> None:
    async def swallow(socket: ServerConnection, frame: Frame) -> bool:
        if frame["event"] != "broadcast":
            return False
        match frame["payload"]["event"]:
            case "taken":
                return False
            case "refused":
                await reply(socket, frame, "error", {"reason": "no"})
            case "cut":
                socket.transport.abort()
        return True

    server.on_frame = swallow
    async with project(server) as opened:
        channel = await opened.realtime.join("smelt:a")
        assert not await channel.send("taken", {})  # Not joined yet.
        assert await channel.wait_joined(5)
        assert await channel.send("taken", {"n": 1})
        assert not await channel.send("refused", {})
        assert not await channel.send("lost", {}, timeout_s=0.1)
        assert not await channel.send("cut", {}, timeout_s=30)
        sent = next(frame for frame in server.frames if frame["event"] == "broadcast")
        assert sent["payload"] == {"type": "broadcast", "event": "taken", "payload": {"n": 1}}
        assert server.joins()[0]["payload"]["config"]["private"] is True


async def test_a_listener_that_raises_stops_nobody(server: ScriptedRealtime) -> None:
    def fall_over(*_: object) -> None:
        raise ZeroDivisionError

    async with project(server) as opened:
        ear = Ear()
        opened.realtime.listen(fall_over)
        broken = await opened.realtime.join("smelt:a", on_message=fall_over, on_joined=fall_over, on_left=fall_over)
        channel = await opened.realtime.join("smelt:b", **ear.callbacks)
        assert await broken.wait_joined(5)
        assert await channel.wait_joined(5)
        await server.broadcast("smelt:a", "progress", {})
        await server.broadcast("smelt:b", "progress", {})
        await until(lambda: ear.messages)
        await server.sockets[0].close(1012)
        await until(lambda: ear.joined_count == 2)
        assert await broken.wait_joined(5)


async def test_a_left_channel_can_be_joined_again_at_once(server: ScriptedRealtime) -> None:
    async with project(server) as opened:
        stays = await opened.realtime.join("smelt:stays")
        assert await stays.wait_joined(5)
        for _ in range(3):
            ear = Ear()
            channel = await opened.realtime.join("smelt:a", **ear.callbacks)
            assert await channel.wait_joined(5)
            await server.broadcast("smelt:a", "progress", {})
            await until(lambda ear=ear: ear.messages)
            await channel.leave()
        assert not channel.joined
        assert not await channel.send("progress", {})


async def test_all_who_join_a_topic_share_one_place(server: ScriptedRealtime) -> None:
    async with project(server) as opened:
        first, second = Ear(), Ear()
        one = await opened.realtime.join("smelt:a", **first.callbacks)
        assert await one.wait_joined(5)
        two = await opened.realtime.join("smelt:a", **second.callbacks)
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


async def test_who_joins_and_leaves_at_once_hears_nothing(server: ScriptedRealtime) -> None:
    async with project(server) as opened:
        stays = await opened.realtime.join("smelt:a")
        assert await stays.wait_joined(5)
        ear = Ear()
        brief = await opened.realtime.join("smelt:a", **ear.callbacks)
        await brief.leave()
        await server.broadcast("smelt:a", "progress", {})
        await stays.leave()
        assert (ear.joined_count, ear.messages, ear.left) == (0, [], [])


@pytest.mark.parametrize("steps", range(40))
async def test_leaving_in_the_middle_of_anything_leaves_nothing_behind(server: ScriptedRealtime, steps: int) -> None:
    async with project(server) as opened:
        channel = await opened.realtime.join("smelt:a")
        for _ in range(steps):
            await asyncio.sleep(0)
        await channel.leave()
        assert opened.realtime.report().channel_count == 0

"""The Realtime connection brings its channels back, whatever a server does to it."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import pytest
from scripted_realtime import Frame, ScriptedRealtime, reply, scripted_realtime, send
from waiting import until
from websockets.asyncio.server import ServerConnection

from smelt.backend.project import Project
from smelt.backend.realtime import Pace
from smelt.backend.retrying import without_waiting
from smelt.backend.tokens import TokenCallable
from smelt.errors import RequestRefused, Unauthorized

BRISK = Pace(heartbeat_s=0.2, answer_s=0.4, join_timeout_s=1, rate_limit_wait_s=0.2, joins_a_second=1000)
CALM = Pace(heartbeat_s=60, joins_a_second=1000)


@pytest.fixture
async def server() -> AsyncIterator[ScriptedRealtime]:
    async with scripted_realtime() as running:
        yield running


@pytest.fixture(autouse=True)
def at_once() -> Any:
    with without_waiting():
        yield


@asynccontextmanager
async def project(
    server: ScriptedRealtime, *, pace: Pace = BRISK, access_token: str | TokenCallable | None = None
) -> AsyncIterator[Project]:
    """A project at the server, checked to leave nothing behind."""
    before = asyncio.all_tasks()
    threads = threading.active_count()
    async with Project(server.url, "sb_publishable_x", access_token=access_token, pace=pace) as opened:
        yield opened
    await until(lambda: not server.sockets and not _left_over(before))
    assert threading.active_count() <= threads + 1


def _left_over(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    ours = ("smelt/", "realtime/_async", "websockets/asyncio/connection", "httpx")
    return {task for task in asyncio.all_tasks() - before if any(where in repr(task) for where in ours)}


class Ear:
    """Hears what a channel tells."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, object]] = []
        self.joined_count = 0
        self.left: list[Exception | None] = []

    def on_message(self, event: str, payload: object) -> None:
        self.messages.append((event, payload))

    def on_joined(self) -> None:
        self.joined_count += 1

    @property
    def callbacks(self) -> dict[str, Any]:
        return {"on_message": self.on_message, "on_joined": self.on_joined, "on_left": self.left.append}


async def abort(socket: ServerConnection) -> None:
    socket.transport.abort()


async def frame_over_a_mebibyte(socket: ServerConnection) -> None:
    await socket.send("x" * (1 << 21))


def close_with(code: int) -> Any:
    async def close(socket: ServerConnection) -> None:
        await socket.close(code)

    return close


@pytest.mark.parametrize(
    "break_it",
    [abort, frame_over_a_mebibyte, *(close_with(code) for code in (1000, 1001, 1008, 1011, 1012, 1013, 4000))],
    ids=["1006", "1009", "1000", "1001", "1008", "1011", "1012", "1013", "4000"],
)
async def test_a_broken_socket_is_replaced_and_its_channels_come_back(server: ScriptedRealtime, break_it: Any) -> None:
    async with project(server, pace=CALM) as opened:
        ear = Ear()
        channel = await opened.realtime.join("smelt:a", **ear.callbacks)
        assert await channel.wait_joined(5)
        await break_it(server.sockets[0])
        await until(lambda: ear.joined_count == 2)
        assert ear.left == [None]
        await server.broadcast("smelt:a", "progress", {"n": 1})
        await until(lambda: ear.messages == [("progress", {"n": 1})])
        assert opened.realtime.report().reconnect_count == 1


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


@pytest.mark.parametrize("text", ["no JSON", "[1, 2]", '{"topic": "realtime:smelt:a"}', '{"event": 1}', ""])
async def test_malformed_frames_change_nothing(server: ScriptedRealtime, text: str) -> None:
    async with project(server) as opened:
        ear = Ear()
        channel = await opened.realtime.join("smelt:a", **ear.callbacks)
        assert await channel.wait_joined(5)
        await server.sockets[0].send(text)
        await server.broadcast("smelt:a", "progress", {})
        await until(lambda: ear.messages)
        assert server.opened_count == 1


async def test_a_server_that_does_not_answer_heartbeats_is_left(server: ScriptedRealtime) -> None:
    async def swallow(_: ServerConnection, frame: Frame) -> bool:
        return frame["event"] == "heartbeat" and server.opened_count == 1

    server.on_frame = swallow
    async with project(server) as opened:
        ear = Ear()
        await opened.realtime.join("smelt:a", **ear.callbacks)
        await until(lambda: ear.joined_count == 2)
        assert opened.realtime.report().last_error == "no answer to a heartbeat"


async def test_a_server_that_answers_keeps_its_socket(server: ScriptedRealtime) -> None:
    async with project(server) as opened:
        ear = Ear()
        await opened.realtime.join("smelt:a", **ear.callbacks)
        await until(lambda: sum(frame["event"] == "heartbeat" for frame in server.frames) >= 4)
        assert server.opened_count == 1


async def test_a_join_without_an_answer_is_tried_on_another_socket(server: ScriptedRealtime) -> None:
    async def swallow(socket: ServerConnection, frame: Frame) -> bool:
        return frame["event"] == "phx_join" and socket is server.sockets[0] and server.opened_count == 1

    server.on_frame = swallow
    async with project(server) as opened:
        channel = await opened.realtime.join("smelt:a")
        assert await channel.wait_joined(10)
        assert server.opened_count == 2


async def test_a_socket_is_recycled_before_it_gets_old(server: ScriptedRealtime) -> None:
    async with project(server, pace=Pace(recycle_s=0.5, joins_a_second=1000)) as opened:
        ear = Ear()
        await opened.realtime.join("smelt:a", **ear.callbacks)
        await until(lambda: ear.joined_count >= 3)


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


async def test_an_expired_token_is_renewed_once_and_joined_with(server: ScriptedRealtime) -> None:
    async def refuse(socket: ServerConnection, frame: Frame) -> bool:
        if frame["event"] != "phx_join" or frame["payload"]["access_token"] != "token 1":
            return False
        await reply(socket, frame, "error", {"reason": "InvalidJWTToken: Token has expired 3 seconds ago"})
        return True

    asked = iter(range(1, 100))

    async def fresh() -> str:
        return f"token {next(asked)}"

    server.on_frame = refuse
    async with project(server, access_token=fresh) as opened:
        channel = await opened.realtime.join("smelt:a")
        assert await channel.wait_joined(5)
        assert [frame["payload"]["access_token"] for frame in server.joins()] == ["token 1", "token 2"]


async def test_a_token_that_stays_refused_surfaces(server: ScriptedRealtime) -> None:
    async def refuse(socket: ServerConnection, frame: Frame) -> bool:
        if frame["event"] != "phx_join":
            return False
        await reply(socket, frame, "error", {"reason": "InvalidJWTToken: Token has expired 3 seconds ago"})
        return True

    asked = iter(range(100))

    async def fresh() -> str:
        return f"token {next(asked)}"

    server.on_frame = refuse
    async with project(server, access_token=fresh) as opened:
        channel = await opened.realtime.join("smelt:a")
        assert not await channel.wait_joined(5)
        assert isinstance(channel.error, Unauthorized)
        assert len(server.joins()) == 2


async def test_a_refused_key_surfaces_and_a_gateway_in_trouble_does_not(server: ScriptedRealtime) -> None:
    server.refuse_with = HTTPStatus.SERVICE_UNAVAILABLE
    async with project(server) as opened:
        channel = await opened.realtime.join("smelt:a")
        await until(lambda: opened.realtime.report().failures_in_a_row >= 3)
        assert opened.realtime.state == "disconnected"
        server.refuse_with = None
        assert await channel.wait_joined(5)
        assert opened.realtime.state == "connected"
    server.refuse_with = HTTPStatus.UNAUTHORIZED
    async with project(server) as opened:
        channel = await opened.realtime.join("smelt:a")
        assert not await channel.wait_joined(5)
        assert isinstance(channel.error, Unauthorized)


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


async def test_channels_are_spread_over_as_few_sockets_as_they_need(server: ScriptedRealtime) -> None:
    async with project(server, pace=Pace(joins_a_second=10_000)) as opened:
        channels = [await opened.realtime.join(f"smelt:{number}") for number in range(250)]
        assert all([await channel.wait_joined(20) for channel in channels])
        assert server.opened_count == 3
        for channel in channels[1:]:
            await channel.leave()
        await until(lambda: len(server.sockets) == 1)
        await channels[0].leave()
        await until(lambda: not server.sockets)


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


async def test_states_are_told_as_they_change(server: ScriptedRealtime) -> None:
    async with project(server) as opened:
        states: list[str] = []
        stop = opened.realtime.listen(states.append)
        channel = await opened.realtime.join("smelt:a")
        assert await channel.wait_joined(5)
        await channel.leave()
        await until(lambda: opened.realtime.state == "disconnected")
        assert states == ["connecting", "connected", "disconnected"]
        stop()
        stop()


async def test_a_fresh_token_reaches_what_is_joined_before_the_old_one_expires(server: ScriptedRealtime) -> None:
    asked: list[int] = []

    async def fresh() -> str:
        asked.append(1)
        return f"opaque {len(asked)}"

    async with project(server, access_token=fresh) as opened:
        channel = await opened.realtime.join("smelt:a")
        assert await channel.wait_joined(5)
        await opened.realtime.renew_token("opaque 1")
        await until(lambda: any(frame["event"] == "access_token" for frame in server.frames))
        pushed = next(frame for frame in server.frames if frame["event"] == "access_token")
        assert pushed["payload"] == {"access_token": "opaque 2"}
        assert channel.joined


@pytest.mark.parametrize("steps", range(40))
async def test_leaving_in_the_middle_of_anything_leaves_nothing_behind(server: ScriptedRealtime, steps: int) -> None:
    async with project(server) as opened:
        channel = await opened.realtime.join("smelt:a")
        for _ in range(steps):
            await asyncio.sleep(0)
        await channel.leave()
        assert opened.realtime.report().channel_count == 0

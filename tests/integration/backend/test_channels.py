"""The Realtime connection keeps its channels joined, or says why they can't be."""

import asyncio

import pytest
from connections import Ear, project
from scripted_realtime import Frame, ScriptedRealtime, reply, send
from waiting import until
from websockets.asyncio.server import ServerConnection

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


async def test_a_refused_token_is_not_joined_with_again_while_there_is_no_other(server: ScriptedRealtime) -> None:
    async def refuse(socket: ServerConnection, frame: Frame) -> bool:
        if frame["event"] != "phx_join" or frame["payload"]["access_token"] != "old":
            return False
        await reply(socket, frame, "error", {"reason": "InvalidJWTToken: Token has expired 3 seconds ago"})
        return True

    answers = iter(["old", OSError("offline"), OSError("offline"), "new"])

    async def fresh() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    server.on_frame = refuse
    async with project(server, access_token=fresh) as opened:
        channel = await opened.realtime.join("smelt:a")
        assert await channel.wait_joined(30)
        assert [frame["payload"]["access_token"] for frame in server.joins()] == ["old", "new"]


async def test_tokens_that_expire_as_soon_as_they_are_taken_are_renewed_ever_more_slowly(
    server: ScriptedRealtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def take_and_drop(socket: ServerConnection, frame: Frame) -> bool:
        if frame["event"] == "phx_join":
            await reply(socket, frame)
            for event, payload in expiry:
                await send(socket, frame["topic"], event, payload)
        return frame["event"] == "phx_join"

    expiry = [
        ("system", {"status": "error", "message": "Token has expired", "extension": "system", "channel": "smelt:a"}),
        ("phx_close", {}),
    ]
    asked_for: list[int] = []
    waited_after: list[int] = []

    async def fresh() -> str:
        asked_for.append(1)
        return f"token {len(asked_for)}"

    monkeypatch.setattr("smelt.backend.realtime.membership.reconnect_wait_s", lambda n: waited_after.append(n) or 0.0)
    server.on_frame = take_and_drop
    async with project(server, access_token=fresh) as opened:
        await opened.realtime.join("smelt:a")
        await until(lambda: len(asked_for) >= 6)
    assert waited_after[:4] == [2, 3, 4, 5]


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

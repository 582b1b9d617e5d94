"""A channel stays joined beyond the expiry of its token if the token can be renewed."""

import pytest
from websockets.asyncio.server import ServerConnection

from smelt.errors import Unauthorized
from tests.harness.waiting import until
from tests.integration.backend.connections import LONG_HEARTBEAT, project
from tests.integration.backend.scripted_realtime import Frame, ScriptedRealtime, reply, send

pytestmark = pytest.mark.usefixtures("no_backoff")


async def test_token_expired_at_a_join_is_renewed_once_for_the_rejoin(server: ScriptedRealtime) -> None:
    async def reject(socket: ServerConnection, frame: Frame) -> bool:
        if frame["event"] != "phx_join" or frame["payload"]["access_token"] != "token 1":
            return False
        await reply(socket, frame, "error", {"reason": "InvalidJWTToken: Token has expired 3 seconds ago"})
        return True

    requests = iter(range(1, 100))

    async def fresh() -> str:
        return f"token {next(requests)}"

    server.on_frame = reject
    async with project(server, access_token=fresh) as opened:
        channel = await opened.realtime.join("smelt:a")
        assert await channel.wait_joined(5)
        assert [frame["payload"]["access_token"] for frame in server.joins()] == ["token 1", "token 2"]


async def test_token_that_was_rejected_is_not_used_again(server: ScriptedRealtime) -> None:
    async def reject(socket: ServerConnection, frame: Frame) -> bool:
        if frame["event"] != "phx_join" or frame["payload"]["access_token"] != "old":
            return False
        await reply(socket, frame, "error", {"reason": "InvalidJWTToken: Token has expired 3 seconds ago"})
        return True

    responses = iter(["old", OSError("offline"), OSError("offline"), "new"])

    async def fresh() -> str:
        response = next(responses)
        if isinstance(response, Exception):
            raise response
        return response

    server.on_frame = reject
    async with project(server, access_token=fresh) as opened:
        channel = await opened.realtime.join("smelt:a")
        assert await channel.wait_joined(30)
        assert [frame["payload"]["access_token"] for frame in server.joins()] == ["old", "new"]


async def test_token_renewal_backoff_grows_while_new_tokens_expire_at_once(
    server: ScriptedRealtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def accept_and_close(socket: ServerConnection, frame: Frame) -> bool:
        if frame["event"] == "phx_join":
            await reply(socket, frame)
            for event, payload in expiry:
                await send(socket, frame["topic"], event, payload)
        return frame["event"] == "phx_join"

    expiry = [
        ("system", {"status": "error", "message": "Token has expired", "extension": "system", "channel": "smelt:a"}),
        ("phx_close", {}),
    ]
    requests: list[int] = []
    waited_after: list[int] = []

    async def fresh() -> str:
        requests.append(1)
        return f"token {len(requests)}"

    monkeypatch.setattr("smelt.backend.realtime.channel.reconnect_wait_s", lambda n: waited_after.append(n) or 0.0)
    server.on_frame = accept_and_close
    async with project(server, access_token=fresh) as opened:
        await opened.realtime.join("smelt:a")
        await until(lambda: len(requests) >= 6)
    assert waited_after[:4] == [2, 3, 4, 5]


async def test_token_rejected_after_renewal_ends_the_channel_as_unauthorized(server: ScriptedRealtime) -> None:
    async def reject(socket: ServerConnection, frame: Frame) -> bool:
        if frame["event"] != "phx_join":
            return False
        await reply(socket, frame, "error", {"reason": "InvalidJWTToken: Token has expired 3 seconds ago"})
        return True

    requests = iter(range(100))

    async def fresh() -> str:
        return f"token {next(requests)}"

    server.on_frame = reject
    async with project(server, access_token=fresh) as opened:
        channel = await opened.realtime.join("smelt:a")
        assert not await channel.wait_joined(5)
        assert isinstance(channel.error, Unauthorized)
        assert len(server.joins()) == 2


async def test_token_renewal_is_pushed_to_joined_channels(server: ScriptedRealtime) -> None:
    requests: list[int] = []

    async def fresh() -> str:
        requests.append(1)
        return f"opaque {len(requests)}"

    async with project(server, access_token=fresh) as opened:
        channel = await opened.realtime.join("smelt:a")
        assert await channel.wait_joined(5)
        await opened.realtime.renew_token("opaque 1")
        await until(lambda: any(frame["event"] == "access_token" for frame in server.frames))
        pushed = next(frame for frame in server.frames if frame["event"] == "access_token")
        assert pushed["payload"] == {"access_token": "opaque 2"}
        assert channel.joined


@pytest.mark.parametrize("fails_once", [False, True])
async def test_token_is_renewed_before_expiry_without_a_rejoin(
    server: ScriptedRealtime, monkeypatch: pytest.MonkeyPatch, fails_once: bool
) -> None:
    name = "smelt.backend.tokens.RENEW_OPAQUE_AFTER_S"
    monkeypatch.setattr(name, 1.0)  # Long enough to join with the first token on a slow machine.
    requests: list[int] = []

    async def fresh() -> str:
        requests.append(1)
        if len(requests) == 2:
            monkeypatch.setattr(name, 0.1)
        if fails_once and len(requests) == 2:
            raise OSError("offline")
        return f"opaque {len(requests)}"

    async with project(server, timings=LONG_HEARTBEAT, access_token=fresh) as opened:
        channel = await opened.realtime.join("smelt:a")
        assert await channel.wait_joined(10)
        await until(lambda: sum(frame["event"] == "access_token" for frame in server.frames) >= 2)
        assert channel.joined
        assert channel.rejoin_count == 0
    pushed = [frame["payload"]["access_token"] for frame in server.frames if frame["event"] == "access_token"]
    assert len(set(pushed)) == len(pushed)
    assert pushed[0] == ("opaque 3" if fails_once else "opaque 2")

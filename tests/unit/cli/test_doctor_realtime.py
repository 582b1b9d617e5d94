"""The results of `smelt doctor` about Realtime, against a scripted server."""

import json

import pytest
from websockets.asyncio.server import ServerConnection, serve

from smelt.backend.project import Project
from smelt.cli.checks import policies
from smelt.cli.checks.result import CheckResult
from smelt.errors import Unavailable

OTHER = {"topic": "phoenix", "event": "phx_reply", "payload": {"status": "ok", "response": {}}, "ref": "9"}


async def check(status: str | None) -> CheckResult:
    """Check the public channels of a server that replies to each join with a status, or closes without a reply."""

    async def reply(socket: ServerConnection) -> None:
        join = json.loads(await socket.recv())
        assert join["payload"]["config"]["private"] is False
        await socket.send(json.dumps(OTHER))
        if status is not None:
            payload = {"status": status, "response": {}}
            await socket.send(json.dumps({**join, "event": "phx_reply", "payload": payload}))

    async with serve(reply, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        return await policies._public_channels(f"http://127.0.0.1:{port}", "key")


async def test_doctor_warns_about_public_channels_of_a_remote_project(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await check("ok")).level == "ok"
    monkeypatch.setattr(policies, "LOCAL_HOSTS", frozenset[str]())
    result = await check("ok")
    assert result.level == "warn"
    assert "Allow public access" in (result.remedy or "")
    assert (await check("error")).observed == "closed"


async def test_doctor_reports_a_realtime_that_does_not_reply_to_a_public_join() -> None:
    with pytest.raises(Unavailable):
        await check(None)


async def test_doctor_names_the_missing_partition_before_it_tries_to_broadcast() -> None:
    async with Project("http://127.0.0.1:9", "key") as unreachable:
        result = await policies._broadcast(unreachable, "messages_2026_01_02")
    assert result.level == "fail"
    assert "realtime.messages_2026_01_02 does not exist" in result.observed

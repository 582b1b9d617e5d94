"""Row changes arrive on a channel that counts as joined only while the database subscription exists."""

from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.server import ServerConnection

from smelt.backend.project import Project
from smelt.backend.realtime import ChangesOf, Channel, ChannelEvent
from tests.harness.waiting import until
from tests.integration.backend.connections import SHORT_TIMEOUTS, ChannelRecorder
from tests.integration.backend.scripted_realtime import Frame, ScriptedRealtime, reply

BINDING = ChangesOf("smelts", "user_id=eq.1")
TOPIC = "feed:1"

pytestmark = pytest.mark.usefixtures("no_backoff")


@pytest.fixture
async def project(server: ScriptedRealtime) -> AsyncIterator[Project]:
    server.on_frame = reply_to_join
    async with Project(server.url, "sb_publishable_x", timings=SHORT_TIMEOUTS) as opened:
        yield opened


async def join(project: Project, recorder: ChannelRecorder) -> Channel:
    return await project.realtime.join(TOPIC, recorder.events.append, changes=[BINDING])


async def reply_to_join(socket: ServerConnection, frame: Frame) -> bool:
    if frame["event"] != "phx_join":
        return False
    bindings = frame["payload"]["config"]["postgres_changes"]
    assert bindings == [{"event": "*", "schema": "public", "table": "smelts", "filter": "user_id=eq.1"}]
    await reply(socket, frame, response={"postgres_changes": [{"id": 7, **one} for one in bindings]})
    return True


async def send_system(server: ScriptedRealtime, status: str) -> None:
    payload = {"channel": TOPIC, "extension": "postgres_changes", "message": "As it is.", "status": status}
    await server.send_to_all(TOPIC, "system", payload)


def change(kind: str, row: Frame) -> Frame:
    data = {"schema": "public", "table": "smelts", "type": kind, "commit_timestamp": "", "errors": None, "columns": []}
    return {"ids": [7], "data": {**data, ("old_record" if kind == "DELETE" else "record"): row}}


async def test_postgres_changes_join_waits_for_the_database_subscription(
    server: ScriptedRealtime, project: Project
) -> None:
    recorder = ChannelRecorder()
    channel = await join(project, recorder)
    await until(lambda: server.joins(TOPIC))
    assert not await channel.wait_joined(0.2)
    await send_system(server, "ok")
    assert await channel.wait_joined(2)
    await server.send_to_all(TOPIC, "postgres_changes", change("DELETE", {"id": 1}))
    await until(lambda: recorder.changes)
    assert (recorder.changes[0]["table"], recorder.changes[0]["old_record"]) == ("smelts", {"id": 1})
    assert recorder.joined_count == 1


async def test_postgres_changes_resubscription_is_reported_as_a_join(
    server: ScriptedRealtime, project: Project
) -> None:
    """After a token renewal the server subscribes again, and changes in between are lost."""
    recorder = ChannelRecorder()
    await join(project, recorder)
    await until(lambda: server.joins(TOPIC))
    await send_system(server, "ok")
    await until(lambda: recorder.joined_count == 1)
    await send_system(server, "ok")
    await until(lambda: recorder.joined_count == 2)
    assert (recorder.left_count, recorder.errors) == (0, [])


@pytest.mark.parametrize("before", [False, True], ids=["at first", "later"])
async def test_postgres_changes_error_rejoins_on_another_socket(
    server: ScriptedRealtime, project: Project, before: bool
) -> None:
    recorder = ChannelRecorder()
    channel = await join(project, recorder)
    await until(lambda: server.joins(TOPIC))
    if before:
        await send_system(server, "ok")
        await until(lambda: recorder.joined_count == 1)
    await send_system(server, "error")
    await until(lambda: len(server.joins(TOPIC)) == 2)
    assert server.opened_count == 2
    await send_system(server, "ok")
    assert await channel.wait_joined(5)


async def test_postgres_changes_after_the_channel_was_left_are_not_delivered(
    server: ScriptedRealtime, project: Project
) -> None:
    """They may be older than the rows that a subscriber reads after the next join."""
    recorder = ChannelRecorder()
    await join(project, recorder)
    await until(lambda: server.joins(TOPIC))
    await send_system(server, "ok")
    await until(lambda: recorder.joined_count == 1)
    [first] = server.sockets
    await send_system(server, "error")
    await server.send_to_all(TOPIC, "postgres_changes", change("UPDATE", {"id": 1}))
    # It is closed once the client has received all frames.
    await until(lambda: first not in server.sockets)
    assert recorder.left_count == 1
    assert recorder.changes == []


async def test_postgres_changes_join_is_retried_without_a_confirmation(
    server: ScriptedRealtime, project: Project
) -> None:
    await join(project, ChannelRecorder())
    await until(lambda: len(server.joins(TOPIC)) == 2, timeout_s=5)


async def test_postgres_changes_callback_that_raises_does_not_affect_others(
    server: ScriptedRealtime, project: Project
) -> None:
    def fail(_: ChannelEvent) -> None:
        raise ValueError("this callback always fails")

    recorder = ChannelRecorder()
    await project.realtime.join(TOPIC, fail, changes=[BINDING])
    await join(project, recorder)
    await until(lambda: server.joins(TOPIC))
    await send_system(server, "ok")
    await until(lambda: recorder.joined_count == 1)
    await server.send_to_all(TOPIC, "postgres_changes", change("INSERT", {"id": 1}))
    await until(lambda: recorder.changes)
    assert len(server.joins(TOPIC)) == 1


async def test_postgres_changes_that_differ_on_one_topic_raise_value_error(
    server: ScriptedRealtime, project: Project
) -> None:
    server.on_frame = None
    await project.realtime.join(TOPIC)
    with pytest.raises(ValueError, match="other changes"):
        await join(project, ChannelRecorder())

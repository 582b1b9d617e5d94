"""Changes of rows come over the same connection, which counts as joined only while the database is listened to."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from connections import BRISK
from scripted_realtime import Frame, ScriptedRealtime, reply
from waiting import until
from websockets.asyncio.server import ServerConnection

from smelt.backend.project import Project
from smelt.backend.realtime import ChangesOf

WISH = ChangesOf("smelts", "user_id=eq.1")
TOPIC = "feed:1"

pytestmark = pytest.mark.usefixtures("at_once")


@pytest.fixture
async def project(server: ScriptedRealtime) -> AsyncIterator[Project]:
    server.on_frame = answer_join
    async with Project(server.url, "sb_publishable_x", pace=BRISK) as opened:
        yield opened


class Ear:
    """Hears what a channel tells."""

    def __init__(self) -> None:
        self.changes: list[Any] = []
        self.joined_count = 0
        self.left_count = 0

    async def join(self, project: Project) -> Any:
        return await project.realtime.join(
            TOPIC, on_joined=self._joined, on_left=self._left, changes=[WISH], on_change=self.changes.append
        )

    def _joined(self) -> None:
        self.joined_count += 1

    def _left(self, error: Exception | None) -> None:
        assert error is None
        self.left_count += 1


async def answer_join(socket: ServerConnection, frame: Frame) -> bool:
    if frame["event"] != "phx_join":
        return False
    asked = frame["payload"]["config"]["postgres_changes"]
    assert asked == [{"event": "*", "schema": "public", "table": "smelts", "filter": "user_id=eq.1"}]
    await reply(socket, frame, response={"postgres_changes": [{"id": 7, **one} for one in asked]})
    return True


async def tell_system(server: ScriptedRealtime, status: str) -> None:
    payload = {"channel": TOPIC, "extension": "postgres_changes", "message": "As it is.", "status": status}
    await server.tell(TOPIC, "system", payload)


def change(kind: str, row: Frame) -> Frame:
    data = {"schema": "public", "table": "smelts", "type": kind, "commit_timestamp": "", "errors": None, "columns": []}
    return {"ids": [7], "data": {**data, ("old_record" if kind == "DELETE" else "record"): row}}


async def test_it_is_joined_once_the_database_is_listened_to(server: ScriptedRealtime, project: Project) -> None:
    ear = Ear()
    channel = await ear.join(project)
    await until(lambda: server.joins(TOPIC))
    assert not await channel.wait_joined(0.2)
    await tell_system(server, "ok")
    assert await channel.wait_joined(2)
    await server.tell(TOPIC, "postgres_changes", change("DELETE", {"id": 1}))
    await until(lambda: ear.changes)
    assert (ear.changes[0]["table"], ear.changes[0]["old_record"]) == ("smelts", {"id": 1})
    assert ear.joined_count == 1


async def test_a_database_that_is_listened_to_anew_is_told_as_a_join(
    server: ScriptedRealtime, project: Project
) -> None:
    """After a fresh token the server subscribes anew, and what changed in between is lost."""
    ear = Ear()
    await ear.join(project)
    await until(lambda: server.joins(TOPIC))
    await tell_system(server, "ok")
    await until(lambda: ear.joined_count == 1)
    await tell_system(server, "ok")
    await until(lambda: ear.joined_count == 2)
    assert ear.left_count == 0


@pytest.mark.parametrize("before", [False, True], ids=["at first", "later"])
async def test_a_refused_subscription_is_asked_for_again_on_another_socket(
    server: ScriptedRealtime, project: Project, before: bool
) -> None:
    ear = Ear()
    channel = await ear.join(project)
    await until(lambda: server.joins(TOPIC))
    if before:
        await tell_system(server, "ok")
        await until(lambda: ear.joined_count == 1)
    await tell_system(server, "error")
    await until(lambda: len(server.joins(TOPIC)) == 2)
    assert server.opened_count == 2
    await tell_system(server, "ok")
    assert await channel.wait_joined(5)


async def test_a_server_that_never_listens_is_asked_again(server: ScriptedRealtime, project: Project) -> None:
    await Ear().join(project)
    await until(lambda: len(server.joins(TOPIC)) == 2, within_s=5)


async def test_a_listener_that_fails_stops_no_other(server: ScriptedRealtime, project: Project) -> None:
    def fail(_: object) -> None:
        raise ValueError("this one never works")

    ear = Ear()
    await project.realtime.join(TOPIC, changes=[WISH], on_change=fail)
    await ear.join(project)
    await until(lambda: server.joins(TOPIC))
    await tell_system(server, "ok")
    await until(lambda: ear.joined_count == 1)
    await server.tell(TOPIC, "postgres_changes", change("INSERT", {"id": 1}))
    await until(lambda: ear.changes)
    assert len(server.joins(TOPIC)) == 1


async def test_one_topic_has_one_set_of_changes(server: ScriptedRealtime, project: Project) -> None:
    server.on_frame = None
    await project.realtime.join(TOPIC)
    with pytest.raises(ValueError, match="other changes"):
        await Ear().join(project)

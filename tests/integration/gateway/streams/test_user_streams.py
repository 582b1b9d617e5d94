"""The streams of a user: files to the letter of their plan, notifications, and batches."""

import asyncio
import json
import re
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID, uuid4

import httpx
import jwt
import pytest
from httpx_sse import ServerSentEvent

from smelt.contract.batches import BatchEvent
from smelt.contract.rows import Notification, RowChange
from smelt.errors import Unavailable
from smelt.gateway.streams import stream as stream_module
from smelt.gateway.streams.files import FilesSource, FilesStream
from smelt.local import StackHandle
from smelt.subscriber import freshness
from smelt.subscriber.client import Client
from tests.harness.gateways import Open, http_client, options_for, running_gateway
from tests.harness.proxies import faulty_proxy
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.sse_readers import EventReader, stream
from tests.harness.stacks import Stack, User
from tests.harness.waiting import until

FILE_KEYS = {"id", "filename", "file_type", "status", "progress", "processing_stage", "error_message"}


async def created(http: httpx.AsyncClient, **more: object) -> str:
    response = await http.post("/api/smelts", json={"text": "Ship it on Monday.", **more})
    return str(response.raise_for_status().json()["id"])


async def message(reader: EventReader) -> dict[str, object]:
    """Return the next message of the stream of files."""
    event = await reader.next()
    assert (event.event, event.id) == ("message", "")
    content: dict[str, object] = json.loads(event.data)
    assert isinstance(content["timestamp"], str)
    assert content["timestamp"].endswith("Z")
    assert datetime.fromisoformat(content["timestamp"]).tzinfo is not None
    return content


async def test_files_stream_has_all_files_then_changes_and_deletions(
    owner: httpx.AsyncClient, scripted_worker: ScriptedWorker
) -> None:
    smelts = [await created(owner), await created(owner)]
    async with stream(owner, "/api/files/events") as reader:
        assert set(await message(reader)) == {"eventType", "timestamp"}
        first = [await message(reader) for _ in smelts]
        for update in first:
            assert set(update) == {"eventType", "timestamp", "file"}
            assert update["eventType"] == "file-update"
            assert isinstance(update["file"], dict)
            assert set(update["file"]) == FILE_KEYS
            assert (update["file"]["status"], update["file"]["processing_stage"]) == ("pending", None)
            assert update["file"]["file_type"] == "text"
        job = await scripted_worker.claim(UUID(smelts[0]))
        file_id = str(job.claim.files[0].id)
        await job.report(
            "synthesizing", 80, files=[{"id": file_id, "status": "processing", "stage": "synthesizing", "progress": 75}]
        )
        changed = await message(reader)
        assert isinstance(changed["file"], dict)
        assert (changed["file"]["id"], changed["file"]["progress"]) == (file_id, 75)
        assert (changed["file"]["status"], changed["file"]["processing_stage"]) == ("processing", "synthesizing")
        await job.complete()
        completed = await message(reader)
        assert isinstance(completed["file"], dict)
        assert (completed["file"]["status"], completed["file"]["progress"]) == ("completed", 100)
        (await owner.delete(f"/api/smelts/{smelts[0]}")).raise_for_status()
        deleted = await message(reader)
        assert (deleted["eventType"], deleted["file"]) == ("file-deleted", {"id": file_id})


async def test_rows_stream_has_each_change_and_deletion_after_it_is_connected(
    owner: httpx.AsyncClient, scripted_worker: ScriptedWorker
) -> None:
    deleted = await created(owner)
    path = "/api/files/events?rows=true"
    async with stream(owner, path) as first, stream(owner, path) as second:
        for reader in (first, second):
            assert (await reader.next()).event == "connected"
        (await owner.delete(f"/api/smelts/{deleted}")).raise_for_status()
        smelt_id = await created(owner)
        job = await scripted_worker.claim(UUID(smelt_id))
        await job.report("synthesizing", 80)
        [listed] = (await owner.get("/api/smelts")).json()["smelts"]
        await job.complete()
        for reader in (first, second):
            events = [await reader.next()]
            while (
                not (changes := changes_of(events, "smelts", smelt_id)) or changes[-1].record["status"] != "completed"
            ):
                events.append(await reader.next())
            assert ("smelts_deleted", {"ids": [deleted]}) in [(event.event, json.loads(event.data)) for event in events]
            assert (changes[0].type, changes[-1].type) == ("INSERT", "UPDATE")
            assert set(changes[-1].record) == set(listed) - {"user_id", "files"}
            file_id = listed["files"][0]["id"]
            assert set(changes_of(events, "smelt_files", file_id)[0].record) == set(listed["files"][0]) - {"trust"}


def changes_of(events: Sequence[ServerSentEvent], table: str, row_id: str) -> list[RowChange]:
    """Return the changes of one row."""
    changes = [RowChange.model_validate_json(event.data) for event in events if event.event == "change"]
    return [change for change in changes if (change.table, change.record["id"]) == (table, row_id)]


async def test_files_stream_has_heartbeats(owner: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert FilesStream.heartbeat_interval_s == 30
    monkeypatch.setattr(FilesStream, "heartbeat_interval_s", 0.2)
    async with stream(owner, "/api/files/events") as reader:
        events = [await message(reader) for _ in range(3)]
    assert [event["eventType"] for event in events] == ["connected", "heartbeat", "heartbeat"]


@pytest.mark.parametrize("path", ["/api/files/events", "/api/notifications/events"])
async def test_streams_of_a_user_are_401_as_json_without_a_user(
    visitor: httpx.AsyncClient, shared_stack: Stack, path: str
) -> None:
    response = await visitor.get(path)
    assert (response.status_code, response.json()["code"]) == (401, "sign_in_required")
    assert response.headers["content-type"] == "application/json"
    for token, status in ((shared_stack.service_role_key, 403), ("a.b.c", 401), ("sb_secret_nothing", 403)):
        response = await visitor.get(path, headers={"Authorization": f"Bearer {token}"})
        assert response.status_code == status, token


@pytest.mark.own_project("whose key signs the token")
async def test_streams_end_with_an_error_once_the_token_of_the_user_has_expired(
    shared_stack: StackHandle, user: User, as_caller: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "CHECK_RETRY_S", 0.2)
    owner = as_caller(user.access_token)
    smelt_id = await created(owner)
    batch_id = (await owner.post("/api/batches", json={})).json()["id"]
    await created(owner, batch_id=batch_id)
    claims = jwt.decode(user.access_token, shared_stack.jwt_secret, algorithms=["HS256"], audience="authenticated")
    # PostgREST still accepts a token that expired less than 30 s ago.
    claims["exp"] = int(time.time()) - 25
    late = as_caller(jwt.encode(claims, shared_stack.jwt_secret, algorithm="HS256"))

    async def read(path: str) -> list[ServerSentEvent]:
        async with stream(late, f"{path}/events") as reader:
            return await reader.rest(30)

    paths = [f"/api/smelts/{smelt_id}", f"/api/batches/{batch_id}", "/api/files", "/api/notifications"]
    for first, *_, last in await asyncio.gather(*(read(path) for path in paths)):
        assert "connected" in first.event + first.data
        assert (last.event, json.loads(last.data)["code"]) == ("error", "token_expired")
    rejected = await late.get("/api/smelts")
    assert (rejected.status_code, rejected.json()["code"]) == (401, "token_expired")


async def test_files_stream_begins_again_after_a_failure_of_its_source(
    owner: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_to_fail, follow = threading.Event(), FilesSource.follow

    async def follow_until_failure(source: FilesSource, client: Client) -> None:
        following = asyncio.create_task(follow(source, client))
        try:
            await until(has_to_fail.is_set, timeout_s=100)
            has_to_fail.clear()
            raise Unavailable("injected by the test")
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    monkeypatch.setattr(FilesSource, "follow", follow_until_failure)
    smelts = [await created(owner) for _ in range(2)]
    async with stream(owner, "/api/files/events") as reader:
        assert [(await message(reader))["eventType"] for _ in range(3)] == ["connected", *["file-update"] * 2]
        has_to_fail.set()
        (await owner.delete(f"/api/smelts/{smelts[0]}")).raise_for_status()
        while (again := await message(reader))["eventType"] != "connected":
            assert again["eventType"] == "file-deleted"
        [file] = (await owner.get(f"/api/smelts/{smelts[1]}")).json()["files"]
        listed = await message(reader)
        assert (listed["eventType"], listed["file"]["id"]) == ("file-update", file["id"])  # type: ignore[index]
        (await owner.delete(f"/api/smelts/{smelts[1]}")).raise_for_status()
        assert (await message(reader))["file"] == {"id": file["id"]}


async def test_streams_of_a_user_have_everything_again_after_a_reconnect(
    owner: httpx.AsyncClient, scripted_worker: ScriptedWorker
) -> None:
    smelts = [await created(owner) for _ in range(3)]
    await (await scripted_worker.claim(UUID(smelts[0]))).complete()
    async with stream(owner, "/api/files/events") as files, stream(owner, "/api/notifications/events") as notifications:
        assert [(await message(files))["eventType"] for _ in range(4)] == ["connected", *["file-update"] * 3]
        assert [(await notifications.next()).event for _ in range(2)] == ["connected", "new_notification"]
    await (await scripted_worker.claim(UUID(smelts[1]))).complete()
    (await owner.delete(f"/api/smelts/{smelts[2]}")).raise_for_status()
    smelts[2] = await created(owner)
    async with stream(owner, "/api/files/events") as files, stream(owner, "/api/notifications/events") as notifications:
        assert (await message(files))["eventType"] == "connected"
        statuses = [(await message(files))["file"]["status"] for _ in range(3)]  # type: ignore[index]
        assert sorted(statuses) == ["completed", "completed", "pending"]
        assert (await notifications.next()).event == "connected"
        ended = [Notification.model_validate_json((await notifications.next()).data).smelt_id for _ in range(2)]
        assert list(map(str, ended)) == smelts[:2]


async def test_files_stream_stays_open_while_realtime_is_away(
    shared_stack: Stack, user: User, owner: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freshness, "STALE_POLL_S", 0.5)
    async with faulty_proxy(shared_stack.api_url) as proxy:
        proxy.reject("realtime")
        with running_gateway(options_for(shared_stack, url=proxy.url)) as gateway:
            headers = {"Authorization": f"Bearer {user.access_token}"}
            async with (
                http_client(gateway.url, headers) as http,
                stream(http, "/api/files/events") as reader,
            ):
                assert (await message(reader))["eventType"] == "connected"
                await created(owner)
                assert (await message(reader))["eventType"] == "file-update"
                proxy.heal()
                await created(owner)
                assert (await message(reader))["eventType"] == "file-update"


async def test_stream_without_the_project_is_503_or_a_retry_hint_for_readers_that_reconnect(
    shared_stack: Stack, user: User, owner: httpx.AsyncClient
) -> None:
    paths = (f"/api/smelts/{await created(owner)}", "/api/files")
    reconnecting = {"Accept": "text/event-stream"}
    with running_gateway(options_for(shared_stack, url="http://127.0.0.1:9")) as gateway:
        headers = {"Authorization": f"Bearer {user.access_token}"}
        async with http_client(gateway.url, headers) as http:
            for path in paths:
                rejected = await http.get(f"{path}/events")
                assert (rejected.status_code, rejected.json()["code"]) == (503, "unavailable")
                postponed = await http.get(f"{path}/events", headers=reconnecting)
                assert postponed.status_code == 200
                assert re.fullmatch(r":unavailable\nretry: ([5-9]\d{3}|10000)\n", postponed.text)
            both = {"Accept": "text/event-stream, application/json"}
            assert (await http.get(f"{paths[0]}/events", headers=both)).status_code == 503
    # An error that will not pass stays one.
    assert (await owner.get(f"/api/smelts/{uuid4()}/events", headers=reconnecting)).status_code == 404
    rejected = await owner.get("/api/files/events", headers={**reconnecting, "Authorization": "Bearer a.b.c"})
    assert rejected.status_code == 401


async def test_notifications_stream_has_the_unread_ones_then_new_ones_once(
    owner: httpx.AsyncClient, scripted_worker: ScriptedWorker
) -> None:
    smelts = [await created(owner) for _ in range(3)]
    await (await scripted_worker.claim(UUID(smelts[0]))).complete()

    async def smelt_of(reader: EventReader) -> str:
        event = await reader.next()
        assert event.event == "new_notification"
        return str(Notification.model_validate_json(event.data).smelt_id)

    path = "/api/notifications/events"
    async with stream(owner, path) as first, stream(owner, path) as second:
        for reader in (first, second):
            assert (await reader.next()).event == "connected"
            assert await smelt_of(reader) == smelts[0]
        for smelt_id in smelts[1:]:
            await (await scripted_worker.claim(UUID(smelt_id))).complete()
            assert [await smelt_of(first), await smelt_of(second)] == [smelt_id] * 2


async def test_batch_stream_ends_after_the_last_smelt_and_a_reconnect_gets_204(
    owner: httpx.AsyncClient, scripted_worker: ScriptedWorker
) -> None:
    batch_id = (await owner.post("/api/batches", json={})).json()["id"]
    smelts = [await created(owner, batch_id=batch_id) for _ in range(2)]
    path = f"/api/batches/{batch_id}/events"
    async with stream(owner, path) as reader:
        assert (await reader.next()).event == "connected"
        first = BatchEvent.model_validate_json((await reader.next()).data)
        assert (first.total, first.completed) == (2, 0)
        for smelt_id in smelts:
            await (await scripted_worker.claim(UUID(smelt_id))).complete()
        *_, last = await reader.rest()
    state = BatchEvent.model_validate_json(last.data)
    assert (last.event, state.status, state.completed) == ("progress", "completed", 2)
    assert last.id == str(state.seq)
    assert (await owner.get(path, headers={"Last-Event-ID": last.id})).status_code == 204
    again = await owner.get(path, headers={"Last-Event-ID": "nonsense"})
    assert again.status_code == 200
    assert '"status":"completed"' in again.text


async def test_batch_of_another_user_is_404_before_the_stream(
    owner: httpx.AsyncClient, visitor: httpx.AsyncClient, shared_stack: Stack
) -> None:
    batch_id = (await owner.post("/api/batches", json={})).json()["id"]
    signed_up = (
        await visitor.post(f"{shared_stack.api_url}/auth/v1/signup", headers={"apikey": shared_stack.anon_key}, json={})
    ).json()
    headers = {"Authorization": f"Bearer {signed_up['access_token']}"}
    response = await visitor.get(f"/api/batches/{batch_id}/events", headers=headers)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")

"""Reading, listing and acting on smelts."""

import json
from uuid import UUID, uuid4

import httpx
import pytest

from smelt.contract.events import Output
from tests.harness.gateways import Open
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.sse_readers import stream
from tests.harness.stacks import Stack, sign_up


async def created(http: httpx.AsyncClient, text: str = "Ship it.") -> str:
    """Create a smelt of a text and return its id."""
    response = await http.post("/api/smelts", json={"text": text})
    response.raise_for_status()
    return str(response.json()["id"])


async def test_get_in_the_queue_has_no_etag_and_is_not_stored(owner: httpx.AsyncClient) -> None:
    response = await owner.get(f"/api/smelts/{await created(owner)}")
    assert "etag" not in response.headers
    assert response.headers["cache-control"] == "no-store"
    assert response.json()["queue_position"] is not None
    assert response.json()["result_url"] is None


async def test_get_with_the_etag_is_304_until_the_smelt_changes(
    owner: httpx.AsyncClient, scripted_worker: ScriptedWorker
) -> None:
    smelt_id = await created(owner)
    path = f"/api/smelts/{smelt_id}"
    job = await scripted_worker.claim(UUID(smelt_id))
    await job.report("synthesizing", 75, words=["hello"])
    tag = (await owner.get(path)).headers["etag"]
    unchanged = await owner.get(path, headers={"If-None-Match": tag})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["etag"] == tag
    await job.complete()
    changed = await owner.get(path, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag
    assert changed.json()["result_url"] == f"{path}/results.md"
    again = await owner.get(path, headers={"If-None-Match": changed.headers["etag"]})
    assert again.status_code == 304
    assert (await owner.get(f"{path}?words=true", headers={"If-None-Match": changed.headers["etag"]})).is_success


@pytest.mark.parametrize("tag", ["*", 'W/"x"', '"1.2.3', 'W/"1.999999.0"', 'W/"9999999999.1.1"', '"\xff"'])
async def test_get_with_a_foreign_etag_returns_the_state(owner: httpx.AsyncClient, tag: str) -> None:
    smelt_id = await created(owner)
    (await owner.post(f"/api/smelts/{smelt_id}/cancel")).raise_for_status()
    response = await owner.get(f"/api/smelts/{smelt_id}", headers=[(b"if-none-match", tag.encode("latin-1"))])
    assert (response.status_code, response.json()["status"]) == (200, "failed")


async def test_cancel_retry_and_delete_act_as_the_functions(owner: httpx.AsyncClient) -> None:
    path = f"/api/smelts/{await created(owner)}"
    cancelled = (await owner.post(f"{path}/cancel")).json()
    assert (cancelled["status"], cancelled["error_code"], cancelled["run"]) == ("failed", "cancelled", 1)
    assert (await owner.post(f"{path}/cancel")).json()["seq"] == cancelled["seq"]
    retried = (await owner.post(f"{path}/retry")).json()
    assert (retried["status"], retried["run"]) == ("pending", 2)
    deleted = await owner.delete(path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    for response in (await owner.get(path), await owner.delete(path), await owner.post(f"{path}/cancel")):
        assert (response.status_code, response.json()["code"]) == (404, "not_found")


async def test_list_pages_are_complete_while_new_smelts_arrive(owner: httpx.AsyncClient) -> None:
    ids = [await created(owner, f"text {n}") for n in range(5)]
    (await owner.post(f"/api/smelts/{ids[0]}/cancel")).raise_for_status()
    first = (await owner.get("/api/smelts", params={"limit": 2, "counts": True})).json()
    assert first["counts"] == {"open": 4, "completed": 0, "failed": 1}
    found = [smelt["id"] for smelt in first["smelts"]]
    await created(owner)
    page = first
    while page["next"]:
        page = (await owner.get("/api/smelts", params={"limit": 2, "before": page["next"]})).json()
        assert page["counts"] is None
        found += [smelt["id"] for smelt in page["smelts"]]
    assert found == ids[::-1]
    failed = (await owner.get("/api/smelts", params={"status": ["failed", "completed"]})).json()
    assert [smelt["id"] for smelt in failed["smelts"]] == ids[:1]


async def test_list_selects_the_smelts_of_a_batch_with_all_columns(owner: httpx.AsyncClient) -> None:
    batch = (await owner.post("/api/batches", json={})).raise_for_status().json()["id"]
    await created(owner)
    body = {"text": "Ship it.", "batch_id": batch, "metadata": {"origin": "test"}}
    ids = [(await owner.post("/api/smelts", json=body)).raise_for_status().json()["id"] for _ in range(2)]
    query = {"batch_id": batch, "status": "pending"}
    [newest, oldest] = (await owner.get("/api/smelts", params=query)).raise_for_status().json()["smelts"]
    assert [newest["id"], oldest["id"]] == ids[::-1]
    assert (newest["batch_id"], newest["metadata"], newest["seq"] > 0) == (batch, {"origin": "test"}, True)
    assert (newest["files"][0]["smelt_id"], newest["files"][0]["trust"]) == (newest["id"], None)
    assert (await owner.get("/api/smelts", params={"batch_id": str(uuid4())})).json()["smelts"] == []


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 201},
        {"status": "x"},
        {"batch_id": "x"},
        {"before": "x"},
        {"before": f"2026-13-01T00:00:00Z_{uuid4()}"},
        {"before": "2026-01-01T00:00:00Z_" + "-" * 36},
        {"before": f'2026-01-01T00:00:00Z_{uuid4()},id.gt.0"'},
    ],
)
async def test_list_rejects_invalid_parameters(owner: httpx.AsyncClient, query: dict[str, str]) -> None:
    response = await owner.get("/api/smelts", params=query)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


async def test_list_without_a_sign_in_is_401(visitor: httpx.AsyncClient) -> None:
    for path in ("/api/smelts", "/api/smelts?counts=true", "/api/notifications", "/api/notifications/unread-count"):
        response = await visitor.get(path)
        assert (response.status_code, response.json()["code"]) == (401, "sign_in_required"), path


@pytest.mark.parametrize(
    "credential",
    [
        "x",
        "a.b.c",
        "sb_secret_x",
        "sb_publishable_x",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMTExMTExMS0xMTExLTQxMTEtODExMS0xMTExMTExMTExMTEifQ.c2ln",
        "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2ln",
        "a." + "W1tbW1tbW1tbW1tb" * 1000 + ".c",
    ],
)
async def test_forged_credentials_are_401(as_caller: Open, credential: str) -> None:
    http = as_caller(credential)
    for request in (
        http.get("/api/smelts"),
        http.get(f"/api/smelts/{uuid4()}"),
        http.post("/api/smelts?wait=1", json={"text": "a"}),
        http.post("/api/smelts", files={"file": ("a.wav", b"RIFF")}),
    ):
        response = await request
        assert response.status_code == 401, response.text
        assert response.json()["code"] in {"unauthorized", "sign_in_required"}


async def test_a_malformed_authorization_is_401(visitor: httpx.AsyncClient) -> None:
    for value in (b"Bearer", b"Basic eA==", b"Bearer sb_secret_\xff"):
        response = await visitor.get("/healthz", headers=[(b"authorization", value)])
        assert response.status_code == 200
        response = await visitor.get("/api/smelts", headers=[(b"authorization", value)])
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer"), value


async def test_batches_count_the_smelts_that_join_them(owner: httpx.AsyncClient) -> None:
    response = await owner.post("/api/batches", json={"title": "monday"})
    assert response.status_code == 201
    batch = response.json()
    assert response.headers["location"] == f"/api/batches/{batch['id']}"
    smelt_id = await created(owner)
    joined = await owner.post("/api/smelts", json={"text": "a", "batch_id": batch["id"]})
    await owner.post(f"/api/smelts/{joined.json()['id']}/cancel")
    state = (await owner.get(f"/api/batches/{batch['id']}")).json()
    assert (state["title"], state["total"], state["failed"], state["status"]) == ("monday", 1, 1, "failed")
    assert state["events_url"] == f"/api/batches/{batch['id']}/events"
    assert smelt_id


async def test_notifications_are_listed_counted_and_marked(
    owner: httpx.AsyncClient, as_caller: Open, shared_stack: Stack, scripted_worker: ScriptedWorker
) -> None:
    ids = [await created(owner) for _ in range(3)]
    for smelt_id in ids:
        await (await scripted_worker.claim(UUID(smelt_id))).complete()
    page = (await owner.get("/api/notifications", params={"limit": 2})).json()
    rest = (await owner.get("/api/notifications", params={"limit": 2, "before": page["next"]})).json()
    listed = [*page["notifications"], *rest["notifications"]]
    assert {one["smelt_id"] for one in listed} == set(ids)
    assert rest["next"] is None
    assert (await owner.get("/api/notifications/unread-count")).json() == {"unread": 3}
    marked = {"ids": [listed[0]["id"]]}
    other = as_caller(sign_up(shared_stack).access_token)
    assert (await other.post("/api/notifications/read", json=marked)).json() == {"marked": 0}
    assert (await owner.post("/api/notifications/seen", json=marked)).json() == {"marked": 1}
    assert (await owner.post("/api/notifications/read", json=marked)).json() == {"marked": 1}
    assert (await owner.post("/api/notifications/read", json=marked)).json() == {"marked": 0}
    assert (await owner.get("/api/notifications/unread-count")).json() == {"unread": 2}
    unread = (await owner.get("/api/notifications", params={"unread": True})).json()["notifications"]
    assert [one["id"] for one in unread] == [one["id"] for one in listed[1:]]


async def test_speaker_of_a_finished_transcript_gets_a_name(
    owner: httpx.AsyncClient, scripted_worker: ScriptedWorker
) -> None:
    smelt_id = await created(owner)
    path = f"/api/smelts/{smelt_id}"
    job = await scripted_worker.claim(UUID(smelt_id))
    file_id = str(job.claim.files[0].id)
    await job.report("transcribing", 30, words=["hello"], speaker="Speaker 1")
    body = {"speaker": "Speaker 1", "name": "Ann", "file_id": file_id}
    early = await owner.post(f"{path}/speakers", json=body)
    assert (early.status_code, early.json()["code"]) == (404, "speaker_not_found")
    await job.report("synthesizing", 75, files=[{"id": file_id, "transcribed": True}])
    await job.complete("Speaker 1: hello")
    tag = (await owner.get(path)).headers["etag"]
    named = (await owner.post(f"{path}/speakers", json=body)).raise_for_status().json()
    assert named["files"][0]["speaker_names"] == {"Speaker 1": "Ann"}
    assert (await owner.get(path, headers={"If-None-Match": tag})).status_code == 200
    assert "Ann: hello" in (await owner.get(f"{path}/transcript.txt")).text
    assert "Ann: hello" in (await owner.get(f"{path}/results.md")).text
    invalid = await owner.post(f"{path}/speakers", json={"speaker": "Speaker 1", "name": "a\nb"})
    assert (invalid.status_code, invalid.json()["code"]) == (400, "invalid_request")


async def test_stream_has_the_outputs_as_they_are_written(
    owner: httpx.AsyncClient, scripted_worker: ScriptedWorker
) -> None:
    smelt_id = await created(owner)
    job = await scripted_worker.claim(UUID(smelt_id))
    output = {
        "file_id": str(job.claim.files[0].id),
        "position": 0,
        "title": "Summary",
        "content": "So far",
        "is_complete": False,
    }
    await scripted_worker.calls.report_progress(
        job.claim.id, job.claim.attempt, status="synthesizing", outputs=[Output.model_validate(output)]
    )
    assert (await owner.get(f"/api/smelts/{smelt_id}")).json()["outputs"] == [output]
    async with stream(owner, f"/api/smelts/{smelt_id}/events") as reader:
        while (event := await reader.next()).event != "progress":
            pass
    assert json.loads(event.data)["outputs"] == [output]

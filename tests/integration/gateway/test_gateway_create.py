"""Creating smelts: forms with recordings, JSON, idempotency, and `?wait=`."""

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.harness.gateways import Open
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import Stack, User

WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "


async def form(http: httpx.AsyncClient, *names: str, **fields: Any) -> httpx.Response:
    """Create a smelt of small recordings."""
    return await http.post("/api/smelts", files=[("file", (name, WAV)) for name in names], data=fields)


async def test_create_from_a_form_uploads_and_submits_its_files(
    owner: httpx.AsyncClient, project_of_user: httpx.AsyncClient
) -> None:
    response = await form(
        owner,
        "a.wav",
        "b.wav",
        prompt=["summarize", "action_items"],
        mode="combine",
        options=json.dumps({"language": "de"}),
        metadata=json.dumps({"meeting": 7}),
    )
    assert response.status_code == 201, response.text
    created = response.json()
    assert response.headers["location"] == f"/api/smelts/{created['id']}"
    assert created["events_url"] == f"/api/smelts/{created['id']}/events"
    assert created["subscription_channel"] == f"smelt:{created['id']}"
    assert created["ended"] is None
    state = (await owner.get(response.headers["location"])).json()
    assert state["submitted_at"] is not None
    assert [file["filename"] for file in state["files"]] == ["a.wav", "b.wav"]
    assert (state["mode"], state["options"], state["metadata"]) == ("combine", {"language": "de"}, {"meeting": 7})
    assert state["default_prompt_names"] == ["summarize", "action_items"]
    path = created["files"][0]["upload_path"]
    stored = await project_of_user.get(f"/storage/v1/object/authenticated/smelt-audio/{path}")
    assert stored.content == WAV


async def test_create_from_a_form_with_an_empty_prompt_applies_none(owner: httpx.AsyncClient) -> None:
    assert (await form(owner, "a.wav", prompt="")).json()["default_prompt_names"] == []
    assert (await form(owner, "a.wav")).json()["default_prompt_names"] == ["summarize"]


async def test_create_from_json_announces_files_that_the_caller_uploads(
    owner: httpx.AsyncClient, project_of_user: httpx.AsyncClient
) -> None:
    files = [{"filename": "a.wav", "size_bytes": len(WAV)}]
    created = (await owner.post("/api/smelts", json={"files": files})).json()
    submit = f"/api/smelts/{created['id']}/submit"
    early = await owner.post(submit)
    assert (early.status_code, early.json()["code"]) == (409, "missing_upload")
    path = created["files"][0]["upload_path"]
    (await project_of_user.post(f"/storage/v1/object/smelt-audio/{path}", content=WAV)).raise_for_status()
    submitted = await owner.post(submit)
    assert submitted.status_code == 200
    assert submitted.json()["submitted_at"] is not None


async def test_create_without_a_sign_in_is_401_and_names_how_to_sign_in(visitor: httpx.AsyncClient) -> None:
    for request in (form(visitor, "a.wav"), visitor.post("/api/smelts", json={"text": "Ship it."})):
        response = await request
        assert (response.status_code, response.json()["code"]) == (401, "sign_in_required")
        assert "/auth/v1/signup" in response.json()["error"]
    response = await visitor.post("/api/batches", json={})
    assert (response.status_code, response.json()["code"]) == (401, "sign_in_required")


async def test_create_with_an_anonymous_sign_in_works_as_the_error_describes(
    as_caller: Open, project_of_user: httpx.AsyncClient
) -> None:
    del project_of_user.headers["Authorization"]
    session = await project_of_user.post("/auth/v1/signup", json={})
    http = as_caller(session.json()["access_token"])
    assert (await http.post("/api/smelts", json={"text": "Ship it on Monday."})).status_code == 201
    assert len((await http.get("/api/smelts")).json()["smelts"]) == 1


async def test_service_creates_a_smelt_for_a_user(as_caller: Open, shared_stack: Stack, user: User) -> None:
    service, owner = as_caller(shared_stack.service_role_key), as_caller(user.access_token)
    created = (await service.post("/api/smelts", json={"text": "Ship it.", "user_id": user.id})).json()
    assert [smelt["id"] for smelt in (await owner.get("/api/smelts")).json()["smelts"]] == [created["id"]]
    rejected = await owner.post("/api/smelts", json={"text": "Ship it.", "user_id": str(uuid4())})
    assert (rejected.status_code, rejected.json()["code"]) == (403, "not_allowed")
    for_form = await form(service, "a.wav", user_id=user.id)
    assert for_form.status_code == 201, for_form.text
    assert len((await owner.get("/api/smelts")).json()["smelts"]) == 2


async def test_idempotency_key_returns_the_same_smelt_and_rejects_another_request(owner: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    bodies = [{"text": "Ship it."}, {"text": "Ship it."}, {"text": "Ship it later."}]
    first, second, other = [await owner.post("/api/smelts", json=body, headers=headers) for body in bodies]
    assert first.json()["id"] == second.json()["id"]
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    forms = [
        await owner.post("/api/smelts", files=[("file", ("a.wav", WAV))], headers={"Idempotency-Key": "form"})
        for _ in range(2)
    ]
    assert [response.status_code for response in forms] == [201, 201]
    assert forms[0].json()["id"] == forms[1].json()["id"]


async def test_wait_returns_the_end_if_it_comes_in_time(
    owner: httpx.AsyncClient, scripted_worker: ScriptedWorker
) -> None:
    body, headers = {"text": "Ship it."}, {"Idempotency-Key": "k"}
    smelt_id = (await owner.post("/api/smelts", json=body, headers=headers)).json()["id"]
    waiting = asyncio.create_task(owner.post("/api/smelts?wait=30", json=body, headers=headers))
    await (await scripted_worker.claim(UUID(smelt_id))).complete("# Notes")
    response = await waiting
    assert response.status_code == 201
    ended = response.json()["ended"]
    assert (ended["status"], ended["results"][0]["content"]) == ("completed", "# Notes")
    assert ended["result_url"] == f"/api/smelts/{smelt_id}/results.md"


async def test_wait_returns_without_an_end_after_its_time(owner: httpx.AsyncClient) -> None:
    response = await owner.post("/api/smelts?wait=0.2", json={"text": "Ship it."})
    assert (response.status_code, response.json()["ended"]) == (201, None)


INVALID: dict[str, tuple[dict[str, Any], int, str]] = {
    "no input": ({"json": {}}, 400, "no_input"),
    "both inputs": ({"json": {"text": "a", "files": [{"filename": "a.wav", "size_bytes": 1}]}}, 400, "mixed_input"),
    "an unknown prompt": ({"json": {"text": "a", "prompts": ["x"]}}, 400, "prompt_not_found"),
    "an unknown option": ({"json": {"text": "a", "options": {"x": 1}}}, 422, "invalid_request"),
    "an unknown field": ({"json": {"text": "a", "x": 1}}, 422, "invalid_request"),
    "an unknown field of a form": ({"files": {"file": ("a.wav", WAV)}, "data": {"x": "1"}}, 422, "invalid_request"),
    "an unknown type of file": ({"files": {"file": ("a.exe", WAV)}}, 415, "invalid_format"),
    "a form without a file": ({"files": {"other": ("a.wav", WAV)}}, 400, "no_input"),
    "options that are not JSON": (
        {"files": {"file": ("a.wav", WAV)}, "data": {"options": "{"}},
        400,
        "malformed_request",
    ),
    "a body that is not JSON": (
        {"content": b"{", "headers": {"content-type": "application/json"}},
        422,
        "invalid_request",
    ),
    "a form without a boundary": (
        {"content": b"x", "headers": {"content-type": "multipart/form-data"}},
        400,
        "malformed_request",
    ),
    "a form that is cut off": (
        {"content": b"--b\r\nContent-Disp", "headers": {"content-type": "multipart/form-data; boundary=b"}},
        400,
        "malformed_request",
    ),
    "another type": ({"content": b"x", "headers": {"content-type": "text/plain"}}, 415, "unsupported_media_type"),
    "too many files": ({"files": [("file", ("a.wav", WAV))] * 6}, 400, "too_many_files"),
    "a foreign batch": ({"json": {"text": "a", "batch_id": str(uuid4())}}, 404, "not_found"),
}


@pytest.mark.parametrize("what", INVALID)
async def test_invalid_requests_have_a_stable_code_and_a_sentence(owner: httpx.AsyncClient, what: str) -> None:
    request, status, code = INVALID[what]
    response = await owner.post("/api/smelts", **request)
    assert (response.status_code, response.json()["code"]) == (status, code), response.text
    assert response.json()["error"]
    assert (await owner.get("/api/smelts")).json()["smelts"] == []

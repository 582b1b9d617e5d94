"""Callbacks of an external service: bounds, order, cancellation, and their events."""

import json
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smelt.backend.project import Project
from tests.harness.gateways import RunningGateway, options_for, running_gateway
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import Stack, User
from tests.harness.waiting import until
from tests.harness.worker_harness import AppClient
from tests.integration.gateway.dispatched_smelts import (
    DURATION_S,
    LEASE_S,
    Service,
    dispatched,
    repeated,
    segment,
    state_of,
    token_of,
)

HOSTILE: dict[str, dict[str, Any]] = {
    "too many segments": {"segments": [segment(index) for index in range(501)]},
    "a gap": {"segments": [segment(1)]},
    "a gap inside": {"segments": [segment(0), segment(2)]},
    "a repeated index": {"segments": [segment(0), segment(0)]},
    "a negative index": {"segments": [segment(-1)]},
    "a huge index": {"segments": [segment(2**40)]},
    "beyond the end": {"segments": [{**segment(0), "end": DURATION_S + 0.1}]},
    "before the start": {"segments": [{**segment(0), "start": -0.1}]},
    "an end before the start": {"segments": [{**segment(0), "end": -1}]},
    "times that go back": {"segments": [{**segment(0), "start": 0.5}, {**segment(1), "start": 0.2}]},
    "an empty text": {"segments": [{**segment(0), "text": ""}]},
    "a long text": {"segments": [segment(0, "x" * 2001)]},
    "a control character": {"segments": [segment(0, "a\x1b[2J")]},
    "a NUL": {"segments": [segment(0, "a\0")]},
    "a line break": {"segments": [segment(0, "a\nb")]},
    "an unknown key": {"segments": [{**segment(0), "seq": 1}]},
    "a word outside its segment": {"segments": [{**segment(0), "words": [{"word": "a", "start": 5, "end": 6}]}]},
    "progress above 100": {"progress": 100.1},
    "negative progress": {"progress": -1},
    "progress that is not a number": {"progress": "a"},
    "another status": {"status": "completed"},
    "a message with a control character": {"message": "a\x07"},
    "a long message": {"message": "x" * 201},
    "a language that is not a code": {"language": "English; drop table"},
    "an unknown error code": {"error": {"code": "cancelled"}},
    "done with an error": {"done": True, "error": {}},
    "an unknown field": {"seq": 1},
    "a file that is not an id": {"file_id": "1"},
}


@pytest.fixture
async def service(owner: httpx.AsyncClient, visitor: httpx.AsyncClient, scripted_worker: ScriptedWorker) -> Service:
    """A service that has a smelt of one file."""
    return await dispatched(owner, visitor, scripted_worker)


async def test_callback_with_a_hostile_body_is_422_and_changes_nothing(
    owner: httpx.AsyncClient, service: Service
) -> None:
    before = await state_of(owner, service.smelt_id)
    for name, body in HOSTILE.items():
        response = await service.call(**body)
        assert response.status_code == 422, (name, response.text)
        assert response.json()["code"] == "invalid_request", name
    numbers = await service.http.post(
        "/api/callbacks/progress",
        content='{"progress": NaN}',
        headers={"X-Callback-Token": service.token, "Content-Type": "application/json"},
    )
    assert numbers.status_code == 422
    large = [segment(index, "x" * 2000) for index in range(500)]
    assert (await service.call(segments=large, message="\u1234" * 200)).status_code in {413, 422}
    assert await state_of(owner, service.smelt_id) == before


async def test_callback_renews_the_lease_and_its_token(owner: httpx.AsyncClient, service: Service) -> None:
    first = await service.call()
    assert (first.status_code, set(first.json())) == (202, {"status", "seq", "callback_token", "expires_at"})
    second = await service.call(progress=50, message="On the GPU...", status="transcribing")
    assert second.json()["seq"] == first.json()["seq"] + 1
    state = await state_of(owner, service.smelt_id)
    assert state["progress"] == {"percentage": 45, "message": "On the GPU...", "stage": "transcribing"}


async def test_callback_events_are_those_of_a_worker(
    shared_stack: Stack, user: User, owner: httpx.AsyncClient, service: Service
) -> None:
    async with (
        Project(shared_stack.api_url, shared_stack.anon_key, access_token=user.access_token) as project,
        AppClient(project).watching(service.smelt_id) as watched,
    ):
        await service.call(progress=2, segments=[segment(0), segment(1)], language="en")
        await until(lambda: watched.segment_count == 2)
        await service.call(progress=3, segments=[segment(1), segment(2, "long " * 300)])
        await service.call(progress=4, segments=[segment(index, "\u00e9" * 1900) for index in range(3, 10)])
        await until(lambda: watched.segment_count == 10)
    watched.check_order()
    payloads = [payload for _, payload in watched.events]
    assert max(len(json.dumps(payload)) for payload in payloads) <= 64 * 1024
    assert {payload["attempt"] for payload in payloads} == {service.attempt}
    assert watched.named("segments")
    assert watched.named("progress")[-1]["progress"]["percentage"] == 22
    (await owner.post(f"/api/smelts/{service.smelt_id}/cancel")).raise_for_status()


async def test_callback_after_cancel_is_409_cancelled(owner: httpx.AsyncClient, service: Service) -> None:
    assert (await service.call(segments=[segment(0)])).status_code == 202
    (await owner.post(f"/api/smelts/{service.smelt_id}/cancel")).raise_for_status()
    response = await service.call(segments=[segment(1)])
    assert (response.status_code, response.json()["code"]) == (409, "cancelled")
    assert len((await state_of(owner, service.smelt_id))["segments"]) == 1


async def test_callback_of_an_older_attempt_is_409_lost(
    owner: httpx.AsyncClient, service: Service, scripted_worker: ScriptedWorker
) -> None:
    await scripted_worker.calls.release_smelt(service.smelt_id, service.attempt)
    job = await scripted_worker.claim(service.smelt_id)
    response = await service.call(segments=[segment(0)])
    assert (response.status_code, response.json()["code"]) == (409, "lost")
    await job.complete()
    assert (await owner.delete(f"/api/smelts/{service.smelt_id}")).is_success
    assert (await service.call()).status_code == 409


async def test_callbacks_of_several_files_share_the_percentage_and_fail_alone(
    owner: httpx.AsyncClient, visitor: httpx.AsyncClient, scripted_worker: ScriptedWorker
) -> None:
    service = await dispatched(owner, visitor, scripted_worker, files=3)
    first, second, third = service.file_ids
    assert (await service.call(progress=1)).status_code == 422
    assert (await service.call(file_id=str(uuid4()), progress=1)).status_code == 401
    await service.call(file_id=first, segments=[segment(0)], done=True)
    await service.call(file_id=second, progress=50)
    assert (await state_of(owner, service.smelt_id))["progress"]["percentage"] == 45
    error = {"code": "corrupted_file", "message": "no frames"}
    assert (await service.call(file_id=second, error=error)).status_code == 202
    assert (await service.call(file_id=second, segments=[segment(0)])).status_code == 422
    last = await service.call(file_id=third, done=True)
    assert (await service.call(file_id=third, done=True)).json()["seq"] == last.json()["seq"]
    state = await state_of(owner, service.smelt_id)
    assert [file["status"] for file in state["files"]] == ["processing", "failed", "processing"]
    assert state["files"][1]["error_code"] == "corrupted_file"
    job = await scripted_worker.claim(service.smelt_id)
    assert [file.transcribed for file in job.claim.files] == [True, False, True]
    assert job.claim.failure_count == 0
    await job.complete()


async def test_callback_with_a_transient_error_ends_the_attempt_as_a_failure(
    owner: httpx.AsyncClient, service: Service, scripted_worker: ScriptedWorker
) -> None:
    error = {"message": "CUDA out of memory", "transient": True}
    assert (await service.call(segments=[segment(0)], error=error)).status_code == 202
    assert (await service.call()).json()["code"] == "lost"
    known = await scripted_worker.calls.get_attempts(service.smelt_id)
    assert (known.failure_count, known.attempts[0].risk) == (1, "external")
    assert known.attempts[0].reason == "the external service reports: CUDA out of memory"
    assert len((await state_of(owner, service.smelt_id))["segments"]) == 1
    (await owner.post(f"/api/smelts/{service.smelt_id}/cancel")).raise_for_status()


def test_callbacks_without_signing_keys_are_not_configured(shared_stack: Stack) -> None:
    with running_gateway(options_for(shared_stack, signing_keys=())) as gateway:
        response = httpx.post(f"{gateway.url}/api/callbacks/progress", json={}, headers={"X-Callback-Token": "x"})
    assert (response.status_code, response.json()["code"]) == (404, "not_configured")


PARTS = st.lists(st.tuples(st.integers(0, 11), st.integers(1, 6)), min_size=4, max_size=10)


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(parts=PARTS)
async def test_callbacks_in_any_order_lose_and_double_nothing(
    gateway: RunningGateway,
    owner: httpx.AsyncClient,
    visitor: httpx.AsyncClient,
    scripted_worker: ScriptedWorker,
    parts: list[tuple[int, int]],
) -> None:
    service = await dispatched(owner, visitor, scripted_worker)
    try:
        bodies = [
            {"progress": first, "segments": [segment(index) for index in range(first, first + count)]}
            for first, count in parts
        ]
        percentages = [20.0]
        count = 0
        for body in bodies:  # Each twice at once.
            responses = {response.status_code for response in await repeated(service, [body, body])}
            first, last = body["segments"][0]["index"], body["segments"][-1]["index"]
            assert responses == ({202} if first <= count else {422})
            count = max(count, last + 1) if first <= count else count
            state = await state_of(owner, service.smelt_id)
            assert [one["text"] for one in state["segments"]] == [f"text {index}" for index in range(count)]
            percentages.append(state["progress"]["percentage"])
        assert percentages == sorted(percentages)
    finally:
        await owner.post(f"/api/smelts/{service.smelt_id}/cancel")


async def test_callback_token_is_rejected_unless_it_is_of_this_purpose_and_valid(
    owner: httpx.AsyncClient, service: Service
) -> None:
    smelt_id, attempt = service.smelt_id, service.attempt
    read_only = (await owner.post(f"/api/smelts/{smelt_id}/token")).json()["token"]
    payload, _, signature = service.token.rpartition(".")
    longer = payload[:-1] + str((int(payload[-1]) + 1) % 10)
    for token, code in (
        (token_of(smelt_id, attempt, now=1e9), "token_expired"),
        (token_of(smelt_id, attempt, keys=("another signing key of 32 bytes!!",)), "unauthorized"),
        (f"{longer}.{signature}", "unauthorized"),
        (read_only, "unauthorized"),
        ("", "unauthorized"),
        ("a.b.c.d.e", "unauthorized"),
    ):
        response = await service.call(token=token, segments=[segment(0)])
        assert (response.status_code, response.json()["code"]) == (401, code), token
    assert int(payload.split(".")[2]) == LEASE_S
    other = token_of(UUID(int=1), attempt)
    assert (await service.call(token=other)).status_code == 409
    assert (await owner.get(f"/api/smelts/{smelt_id}", params={"token": service.token})).status_code == 401
    assert (await state_of(owner, smelt_id))["segments"] == []

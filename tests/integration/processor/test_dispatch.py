"""A worker that dispatches: jobs, services that do not accept or stay silent, and drains."""

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from smelt.backend.client_rpc import ClientRpc
from smelt.backend.project import Project
from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.dispatch import CallbackTokens
from smelt.contract.options import SmeltOptions
from smelt.contract.work import AttemptRow, Claim
from smelt.processor.options import DispatchOptions
from tests.harness.external_services import Service, running_service
from tests.harness.stacks import Stack
from tests.harness.waiting import until
from tests.harness.worker_harness import (
    RECORDINGS,
    TIMEOUT_S,
    attempts_of,
    failures,
    running_worker,
    submitted,
    user_client,
)

KEY = "a signing key of thirty-two bytes"
RECORDING = RECORDINGS / "action_item.flac"


def dispatching(service: Service, **more: Any) -> dict[str, Any]:
    """Return the options of a worker that dispatches to a service, one smelt at a time."""
    options = {"token": "secret", "gateway_url": "https://smelt.example/", "signing_keys": (KEY,), "lease_s": 60}
    return {"dispatch": DispatchOptions(url=service.url, **{**options, **more}), "concurrency": 1}


async def last_attempt(stack: Stack, smelt_id: UUID) -> AttemptRow:
    [known] = await attempts_of(stack, smelt_id)
    return known.attempts[-1]


async def cancel_once_claimed(stack: Stack, smelt_id: UUID) -> Claim:
    """Claim a smelt as another worker as soon as it is due, then cancel it; return the claim."""
    deadline = time.monotonic() + TIMEOUT_S
    async with Project(stack.api_url, stack.service_role_key) as project:
        while not (claims := await WorkerRpc(project.rpc).claim_smelts("another")).smelts:
            assert time.monotonic() < deadline
            await asyncio.sleep(claims.next_due_in_s or 0.1)
        await ClientRpc(project.rpc).cancel_smelt(smelt_id)
    [claim] = claims.smelts
    assert claim.id == smelt_id
    return claim


@pytest.fixture
def service() -> Iterator[Service]:
    with running_service() as running:
        yield running


async def test_dispatch_posts_jobs_and_the_worker_is_free_for_the_next_ones(
    project: Stack, tmp_path: Path, service: Service
) -> None:
    async with user_client(project) as app, running_worker(project, tmp_path, **dispatching(service)):
        options = SmeltOptions(language="en", vocabulary=("Carla",), keep_audio_h=1)
        created = await app.create(RECORDING, prompts=(), options=options)
        await app.calls.submit_smelt(created.id)
        [other] = await submitted(app, RECORDING)
        text = await app.create(text_input="Anna will call Ben.")
        assert (await app.ended(text.id)).status == "completed"
        await until(lambda: len(service.jobs) == 2)
        job = service.jobs[0]
        assert {one.job_id for one in service.jobs} == {created.id, other}
        state = await app.state(created.id)
        assert (state.status, state.progress.percentage) == ("transcribing", 20)
        [file] = job.files
        assert file.duration == state.files[0].duration_seconds
        assert file.options == {
            "language": "en",
            "task": "transcribe",
            "vocabulary": ["Carla"],
            "word_times": None,
            "channels": "mixed",
            "model": None,
            "speakers": False,
        }
        async with httpx.AsyncClient() as anyone:
            assert (await anyone.get(file.audio_url)).content == RECORDING.read_bytes()
        assert job.callback_url == "https://smelt.example/api/callbacks/progress"
        token = CallbackTokens([KEY]).verify(job.callback_token)
        assert token is not None
        assert (token.smelt_id, token.attempt, token.lease_s) == (created.id, state.attempt, 60)
        assert [authorization for authorization, _ in service.received] == ["Bearer secret"] * 2
        for smelt_id in (created.id, other):
            assert (await last_attempt(project, smelt_id)).ended_as is None, "the leases outlive the work here"
            await app.calls.cancel_smelt(smelt_id)


async def test_dispatch_that_is_not_accepted_costs_no_failure_and_suspends_the_worker(
    project: Stack, tmp_path: Path, service: Service
) -> None:
    service.status = 503
    async with user_client(project) as app:
        async with running_worker(project, tmp_path, **dispatching(service)):
            [smelt_id] = await submitted(app, RECORDING)
            # The next attempt is later, by this worker as well.
            await until(lambda: len(service.received) == 2)
        await cancel_once_claimed(project, smelt_id)
        [known] = await attempts_of(project, smelt_id)
        assert failures(known) == []
        first, second = known.attempts[:2]
        assert (first.ended_as, first.reason) == ("released", "the external service responded with 503")
        assert first.ended_at is not None
        assert second.claimed_at - first.ended_at >= timedelta(seconds=2)


async def test_dispatch_lease_that_expires_before_the_first_callback_costs_no_failure(
    project: Stack, tmp_path: Path, service: Service
) -> None:
    async with user_client(project) as app:
        async with running_worker(project, tmp_path, **dispatching(service, lease_s=1)):
            [smelt_id] = await submitted(app, RECORDING)
            await until(lambda: service.jobs)
        claim = await cancel_once_claimed(project, smelt_id)
        assert (claim.attempt, claim.failure_count) == (2, 0)
        [known] = await attempts_of(project, smelt_id)
        assert known.attempts[0].reason == "the external service did not call back"


async def test_dispatch_names_the_last_saved_segment_and_drain_releases_a_job_without_a_response(
    project: Stack, tmp_path: Path, service: Service
) -> None:
    async with user_client(project) as app, Project(project.api_url, project.service_role_key) as service_role:
        calls = WorkerRpc(service_role.rpc)
        [smelt_id] = await submitted(app, RECORDING)
        [claim] = (await calls.claim_smelts("another")).smelts
        file_id = str(claim.files[0].id)
        segments = [{"index": n, "start": n / 2, "end": n / 2 + 0.4, "text": str(n)} for n in (0, 1)]
        await calls.dispatch_smelt(smelt_id, claim.attempt, lease_s=60)
        await calls.report_dispatched(smelt_id, claim.attempt, {"segments": segments}, lease_s=60)
        await calls.release_smelt(smelt_id, claim.attempt)
        service.may_respond.clear()
        async with running_worker(project, tmp_path, drain_s=4.0, **dispatching(service)):
            await until(lambda: service.jobs)
        service.may_respond.set()
        [job] = service.jobs
        assert [one.model_dump(mode="json") for one in job.resume] == [
            {**segments[1], "file_id": file_id, "speaker": None}
        ]
        attempt = await last_attempt(project, smelt_id)
        assert (attempt.ended_as, attempt.reason) == ("released", "the worker drained")
        await cancel_once_claimed(project, smelt_id)

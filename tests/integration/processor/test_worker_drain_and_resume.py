"""A smelt survives the end of its worker: killed, cancelled, drained, fenced."""

import asyncio
import logging
import signal
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest

import smelt
from smelt.backend.project import Project
from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.state import Created, Snapshot
from smelt.contract.work import Claim
from tests.harness.endless_model import ENDLESS_MODEL
from tests.harness.proxies import faulty_proxy
from tests.harness.recorder import Recorder
from tests.harness.stacks import Stack, sign_up
from tests.harness.waiting import until
from tests.harness.worker_harness import (
    TIMEOUT_S,
    AppClient,
    RecordedChannel,
    WorkerProcess,
    app_client,
    attempts_of,
    running_worker,
    user_client,
    worker_metrics,
)
from tests.integration.processor.http_proxy import running_http_proxy

CLAIM = "/rest/v1/rpc/claim_smelts"
RENEWAL = "/rest/v1/rpc/renew_smelt_leases"


def folders(parent: Path, pattern: str) -> list[Path]:
    return list(parent.glob(pattern))


def rows_of(stack: Stack, worker: WorkerProcess) -> list[dict[str, Any]]:
    """Return the rows of a worker in the database."""
    with psycopg.connect(stack.db_url) as owner:
        found = owner.execute("select info from smelt.workers where worker_id like %s", [f"%-{worker.process.pid}-%"])
        return [info for (info,) in found]


async def claimed_by(calls: WorkerRpc) -> Claim:
    """Claim as another worker, as soon as a smelt can be claimed."""
    deadline = time.monotonic() + TIMEOUT_S
    while not (claims := await calls.claim_smelts("another")).smelts:
        assert time.monotonic() < deadline
        await asyncio.sleep(claims.next_due_in_s or 0.1)
    return claims.smelts[0]


async def submitted(app: AppClient, watched: RecordedChannel) -> None:
    await app.calls.submit_smelt(watched.smelt_id)
    await until(lambda: watched.segment_count >= 5)


def assert_updates_match_state(updates: list[smelt.Update], state: Snapshot) -> None:
    """Assert that a watcher got the stored transcript, growing percentages and attempts, and one terminal update."""
    spoken = [segment for update in updates if isinstance(update, smelt.Segments) for segment in update.segments]
    assert [segment.model_dump(include={"index", "start", "end", "text"}) for segment in spoken] == [
        segment.model_dump(include={"index", "start", "end", "text"}) for segment in state.segments
    ]
    progress = [update for update in updates if isinstance(update, smelt.Progress)]
    percentages = [update.percentage for update in progress]
    assert percentages == sorted(percentages)
    attempts = [update.attempt for update in progress]
    assert attempts == sorted(attempts)
    assert attempts[-1] == state.attempt
    ends = [update for update in updates if isinstance(update, smelt.Completed | smelt.Failed)]
    assert ends == updates[-1:]
    assert isinstance(ends[0], smelt.Completed)


async def test_resume_after_two_sigkills_gives_the_same_text_and_one_completion(
    project: Stack, tmp_path: Path, long_recording: Path, undisturbed_texts: list[str]
) -> None:
    workers: list[WorkerProcess] = []
    recorder = Recorder()
    try:
        async with app_client(project) as app, smelt.connect(project.api_url, project.anon_key) as client:
            created = await app.create(long_recording)
            following = asyncio.create_task(recorder.watch(client, created.id))
            async with app.watching(created.id) as watched:
                await app.calls.submit_smelt(created.id)
                for before in (ENDLESS_MODEL, ENDLESS_MODEL, ""):
                    received_count = watched.segment_count
                    workers.append(WorkerProcess(project, tmp_path, before=before, SMELT_LEASE_S="5"))
                    await until(lambda received_count=received_count: watched.segment_count > received_count)
                    if before:
                        workers[-1].end(signal.SIGKILL)
                await until(lambda: watched.ends, 90)
                state = await app.ended(created.id)
                await following
                workers[-1].end(signal.SIGTERM)
                assert await workers[-1].exit_code() == 0
        assert state.attempt >= 3
        assert state.run == 1
        assert [segment.text for segment in state.segments] == undisturbed_texts
        assert [name for name, _ in watched.ends] == ["completed"]
        watched.check_order()
        watched.check_budget()
        assert_updates_match_state(recorder.updates[created.id], state)
        assert folders(tmp_path, "smelt-worker-*") == []
    finally:
        for worker in workers:
            worker.close()


async def test_cancel_stops_transcription_and_keeps_the_segments(
    project: Stack, tmp_path: Path, long_recording: Path
) -> None:
    async with app_client(project) as app, running_worker(project, tmp_path):
        created = await app.create(long_recording)
        async with app.watching(created.id) as watched:
            await submitted(app, watched)
            cancelled = await app.calls.cancel_smelt(created.id)
            assert (cancelled.status, cancelled.error_code) == ("failed", "cancelled")
            await until(lambda: watched.ends)
            await until(lambda: not folders(tmp_path, "smelt-worker-*/*-*"))
            state = await app.state(created.id)
            assert len(state.segments) >= 5
            after = len(watched.named("progress"))
            text = await app.create(text_input="Anna will call Ben.")
            await app.ended(text.id)
            assert len(watched.named("progress")) == after
        assert [end["error_code"] for _, end in watched.ends] == ["cancelled"]


@pytest.mark.parametrize(("drain_s", "signals", "code"), [("5", 1, 0), ("600", 2, 130)])
async def test_drain_releases_unfinished_smelts_within_drain_s(
    project: Stack, tmp_path: Path, long_recording: Path, drain_s: str, signals: int, code: int
) -> None:
    worker = WorkerProcess(project, tmp_path, before=ENDLESS_MODEL, SMELT_DRAIN_S=drain_s)
    try:
        async with app_client(project) as app:
            created = await app.create(long_recording)
            async with app.watching(created.id) as watched:
                await submitted(app, watched)
                received_count = watched.segment_count
                for _ in range(signals - 1):
                    worker.end(signal.SIGTERM)
                    await until(lambda: [row["state"] for row in rows_of(project, worker)] == ["draining"])
                    [doing] = rows_of(project, worker)[0]["smelts"]
                    assert (doing["id"], doing["stage"]) == (str(created.id), "transcribing")
                    assert 20 < doing["percentage"] < 70
                worker.end(signal.SIGTERM)
                assert await worker.exit_code() == code
            assert rows_of(project, worker) == []
            state = await app.state(created.id)
            async with Project(project.api_url, project.service_role_key) as other:
                claims = await WorkerRpc(other.rpc).claim_smelts("another")
            assert [(claim.id, claim.failure_count) for claim in claims.smelts] == [(created.id, 0)]
            assert claims.smelts[0].attempt == state.attempt + 1
            assert claims.smelts[0].files[0].segment_count >= received_count
            await app.calls.cancel_smelt(created.id)
        assert folders(tmp_path, "smelt-worker-*") == []
    finally:
        worker.close()


async def test_drain_with_an_unreachable_project_exits_and_the_lease_expires(
    project: Stack, tmp_path: Path, long_recording: Path
) -> None:
    async with app_client(project) as app, faulty_proxy(project.api_url) as proxy:
        settings = {"SUPABASE_URL": proxy.url, "SMELT_DRAIN_S": "0", "SMELT_LEASE_S": "5"}
        worker = WorkerProcess(project, tmp_path, before=ENDLESS_MODEL, **settings)
        try:
            created = await app.create(long_recording)
            async with app.watching(created.id) as watched:
                await submitted(app, watched)
                proxy.stall()
                worker.end(signal.SIGTERM)
                assert await worker.exit_code() == 3
            assert "the project does not respond" in worker.log.read_text()
            async with Project(project.api_url, project.service_role_key) as other:
                claim = await claimed_by(WorkerRpc(other.rpc))
            assert (claim.id, claim.suspect, claim.failure_count) == (created.id, "model", 1)
            assert claim.files[0].segment_count >= 5
            await app.calls.cancel_smelt(created.id)
        finally:
            worker.close()


async def test_drain_with_a_claim_without_response_releases_the_other_smelts(
    project: Stack, tmp_path: Path, long_recording: Path
) -> None:
    async with user_client(project) as app, running_http_proxy(project) as between:
        settings = {"SUPABASE_URL": between.url, "SMELT_CONCURRENCY": "2", "SMELT_DRAIN_S": "5", "SMELT_LEASE_S": "5"}
        worker = WorkerProcess(project, tmp_path, before=ENDLESS_MODEL, **settings)
        try:
            created = await app.create(long_recording)
            async with app.watching(created.id) as watched:
                await submitted(app, watched)
                between.withheld_path = CLAIM
                text = await app.create(text_input="Anna will call Ben.")
                await until(lambda: between.withheld_count)
                worker.end(signal.SIGTERM)
                assert await worker.exit_code() == 0
            assert rows_of(project, worker) == []
            async with Project(project.api_url, project.service_role_key) as other:
                claims = [await claimed_by(WorkerRpc(other.rpc)) for _ in range(2)]
            # The project has carried the claim out: its lease expires.
            assert [claim.id for claim in claims] == [created.id, text.id]
            assert [(claim.failure_count, claim.suspect) for claim in claims] == [(0, None)] * 2
            endings = [one.attempts[0].ended_as for one in await attempts_of(project, created.id, text.id)]
            assert endings == ["released", "expired"]
            for smelt in (created, text):
                await app.calls.cancel_smelt(smelt.id)
        finally:
            worker.close()


async def test_drain_claims_nothing_after_a_renewal_in_flight(
    project: Stack, tmp_path: Path, long_recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Then only a claim renews, before its own call.
    monkeypatch.setattr("smelt.processor.leases._RENEW_INTERVAL_S", 1000.0)
    after_stop: list[str] = []

    def on_response(path: str) -> None:
        if path == RENEWAL:
            stop.set()
        if stop.is_set():
            after_stop.append(path)

    async with user_client(project) as app, running_http_proxy(project) as between:
        created = await app.create(long_recording)
        async with (
            app.watching(created.id) as watched,
            running_worker(between.project, tmp_path, concurrency=2, drain_s=0.0, lease_s=3000) as stop,
        ):
            await submitted(app, watched)
            between.on_response = on_response
            text = await app.create(text_input="Anna will call Ben.")
            await stop.wait()
        assert RENEWAL in after_stop
        assert CLAIM not in after_stop
        assert (await app.state(text.id)).attempt == 0
        for smelt in (created, text):
            await app.calls.cancel_smelt(smelt.id)


async def test_fencing_stops_reports_of_a_worker_that_lost_its_smelt(
    project: Stack, tmp_path: Path, long_recording: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with app_client(project) as app, Project(project.api_url, project.service_role_key) as rival_project:
        calls = WorkerRpc(rival_project.rpc)
        created = await app.create(long_recording)
        async with (
            app.watching(created.id) as watched,
            running_worker(project, tmp_path, concurrency=1, metrics_port=0),
        ):
            await submitted(app, watched)
            first = await app.state(created.id)
            # Release the smelt in its name; from now on, a report of this attempt is fenced.
            released = await calls.release_smelt(created.id, first.attempt)
            assert released.verdict == "released"
            claims = await calls.claim_smelts("a-rival", lease_s=60)
            rival = claims.smelts[0].attempt
            await until(lambda: not folders(tmp_path, "smelt-worker-*/*-*"))
            event_count = len(watched.events)
            text = await app.create(text_input="Anna will call Ben.")
            await app.ended(text.id)
            assert {payload["attempt"] for _, payload in watched.events[event_count:]} <= {rival}
            assert (await app.state(created.id)).attempt == rival
            assert worker_metrics(caplog.text)["smelt_leases_lost_total",] == 1
            await app.calls.cancel_smelt(created.id)


async def test_claim_does_not_return_an_own_smelt_with_an_expired_lease(
    project: Stack, tmp_path: Path, long_recording: Path
) -> None:
    """Its lease expired, as in an outage, and no other worker claimed it."""
    async with app_client(project) as app, running_worker(project, tmp_path, concurrency=2):
        created = await app.create(long_recording)
        async with app.watching(created.id) as watched:
            await submitted(app, watched)
            with psycopg.connect(project.db_url) as owner:
                owner.execute(
                    "update smelt.leases set expires_at = expires_at - interval '1 minute' where smelt_id = %s",
                    [created.id],
                )
            text = await app.create(text_input="Anna will call Ben.")
            await app.ended(text.id)
            assert (await app.state(created.id)).attempt == 1
            await app.calls.cancel_smelt(created.id)


async def test_claim_by_two_workers_completes_each_smelt_in_one_attempt(project: Stack, tmp_path: Path) -> None:
    async with app_client(project) as app:
        texts = [await app.create(text_input=f"Note {n}: Ben will call.") for n in range(3)]
        async with running_worker(project, tmp_path / "one"), running_worker(project, tmp_path / "two"):
            states = await asyncio.gather(*(app.ended(text.id) for text in texts))
    assert [state.status for state in states] == ["completed"] * 3
    assert [state.attempt for state in states] == [1] * 3


async def test_drain_in_rolling_deploys_loses_no_text_and_no_smelt(
    project: Stack, tmp_path: Path, long_recording: Path, undisturbed_texts: list[str]
) -> None:
    """Three generations of workers, one after the other, while smelts are created."""
    async with app_client(project) as app:
        user = sign_up(project)
        async with app_client(project, user.access_token) as signed_in:
            long = await app.create(long_recording)
            await app.calls.submit_smelt(long.id)
            shorts: list[Created] = []
            async with app.watching(long.id) as watched:
                for generation in range(3):
                    last = generation == 2
                    async with running_worker(project, tmp_path, drain_s=600.0 if last else 3.5):
                        shorts += [await signed_in.create(text_input=f"Ben will send {n} bills.") for n in range(2)]
                        received_count = watched.segment_count
                        await until(
                            lambda received_count=received_count: (
                                watched.ends or watched.segment_count > received_count + 10
                            )
                        )
                        if last:
                            # A worker that drains claims nothing more.
                            ended = [await signed_in.ended(short.id) for short in shorts]
                state = await app.ended(long.id)
    assert [segment.text for segment in state.segments] == undisturbed_texts
    assert state.attempt == 5, "three claims and two releases"
    assert [name for name, _ in watched.ends] == ["completed"]
    watched.check_order()
    watched.check_budget()
    assert [short.status for short in ended] == ["completed"] * 6

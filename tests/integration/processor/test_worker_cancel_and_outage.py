"""Cancelling without a worker, replaced objects, waiting for the model, and outages of Storage."""

from pathlib import Path

import psycopg
import pytest
from storage3.exceptions import StorageApiError

from smelt.backend.project import Project
from smelt.backend.retries import ATTEMPTS, without_waiting
from tests.harness.stacks import Stack
from tests.harness.waiting import until
from tests.harness.worker_harness import RECORDINGS, app_client, run_worker_once, running_worker
from tests.integration.processor.http_proxy import STORAGE, running_http_proxy


async def test_cancel_is_broadcast_without_a_worker(project: Stack) -> None:
    async with app_client(project) as app:
        created = await app.create(RECORDINGS / "greeting.ogg")
        await app.calls.submit_smelt(created.id)
        async with app.watching(created.id) as watched:
            cancelled = await app.calls.cancel_smelt(created.id)
            await until(lambda: watched.ends, 10)
        [(event, end)] = watched.ends
        assert (event, end["error_code"], end["seq"]) == ("failed", "cancelled", cancelled.seq)


async def test_object_cannot_be_replaced_after_submit(project: Stack, tmp_path: Path) -> None:
    async with app_client(project) as app, Project(project.api_url, project.service_role_key) as owner:
        created = await app.create(RECORDINGS / "budget.ogg")
        await app.calls.submit_smelt(created.id)
        [file] = created.files
        assert file.upload_path is not None
        # Not even by the service, nor by one that is not larger.
        other = RECORDINGS / "greeting.ogg"
        assert other.stat().st_size <= file.size_bytes
        with pytest.raises(StorageApiError):
            await owner.audio._bucket.update(file.upload_path, other.read_bytes())
        await run_worker_once(project, tmp_path)
        state = await app.state(created.id)
    assert state.status == "completed"


async def test_object_of_another_version_fails_as_corrupted_file(project: Stack, tmp_path: Path) -> None:
    async with app_client(project) as app:
        created = await app.create(RECORDINGS / "budget.ogg")
        await app.calls.submit_smelt(created.id)
        with psycopg.connect(project.db_url) as owner:
            owner.execute("update smelt_files set object_version = 'other' where smelt_id = %s", [created.id])
        await run_worker_once(project, tmp_path)
        state = await app.state(created.id)
    assert (state.status, state.error_code) == ("failed", "corrupted_file")
    assert state.segments == ()


async def test_lease_has_a_risk_only_while_the_model_works_on_the_smelt(
    project: Stack, tmp_path: Path, long_recording: Path
) -> None:
    def risks() -> dict[str, str | None]:
        with psycopg.connect(project.db_url) as owner:
            return {str(smelt_id): risk for smelt_id, risk in owner.execute("select smelt_id, risk from smelt.leases")}

    def decoded() -> bool:
        with psycopg.connect(project.db_url) as owner:
            found = owner.execute("select progress from public.smelt_files where smelt_id = %s", [short.id])
            return [row[0] for row in found] == [20]

    async with app_client(project) as app:
        long, short = await app.create(long_recording), await app.create(RECORDINGS / "greeting.ogg")
        await app.calls.submit_smelt(long.id)
        async with app.watching(long.id) as watched, running_worker(project, tmp_path):
            await until(lambda: watched.segment_count)
            await app.calls.submit_smelt(short.id)
            await until(decoded)
            await until(lambda: risks() == {str(long.id): "model", str(short.id): None})
            assert (await app.state(short.id)).status == "decoding"
            await app.calls.cancel_smelt(long.id)
            assert (await app.ended(short.id)).status == "completed"


async def test_storage_outage_is_retried_in_the_same_attempt(project: Stack, tmp_path: Path) -> None:
    async with app_client(project) as app, running_http_proxy(project) as between:
        created = await app.create(RECORDINGS / "greeting.ogg")
        between.rejected_prefix = STORAGE
        with without_waiting():
            async with running_worker(between.project, tmp_path):
                await app.calls.submit_smelt(created.id)
                await until(lambda: between.rejected_count > 5 * ATTEMPTS)
                between.rejected_prefix = None
                state = await app.ended(created.id)
    assert (state.status, state.attempt) == ("completed", 1)

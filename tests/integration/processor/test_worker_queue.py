"""Ends that need no worker, and what a worker refuses to hear."""

from pathlib import Path

import psycopg
from bench import RECORDINGS, customer, eventually, work_once, working
from intermediary import STORAGE, standing_between
from stacks import Stack

from smelt.backend.project import Project
from smelt.backend.retrying import ATTEMPTS, without_waiting


async def test_a_cancel_is_heard_without_a_worker(project: Stack) -> None:
    async with customer(project) as app:
        created = await app.create(RECORDINGS / "greeting.ogg")
        await app.calls.submit_smelt(created.id)
        async with app.watching(created.id) as watched:
            cancelled = await app.calls.cancel_smelt(created.id)
            await eventually(lambda: watched.ends, 10)
        [(event, end)] = watched.ends
        assert (event, end["error_code"], end["seq"]) == ("failed", "cancelled", cancelled.seq)


async def test_what_was_put_in_the_place_of_a_submitted_recording_is_not_heard(project: Stack, tmp_path: Path) -> None:
    async with customer(project) as app, Project(project.api_url, project.service_role_key) as owner:
        created = await app.create(RECORDINGS / "greeting.ogg")
        await app.calls.submit_smelt(created.id)
        [file] = created.files
        assert file.upload_path is not None
        await owner.audio.remove([file.upload_path])
        await owner.audio.upload(file.upload_path, RECORDINGS / "budget.ogg")
        await work_once(project, tmp_path)
        state = await app.state(created.id)
    assert (state.status, state.error_code) == ("failed", "corrupted_file")
    assert state.segments == ()


async def test_a_smelt_that_waits_for_its_turn_is_not_blamed_for_the_death_of_its_worker(
    project: Stack, tmp_path: Path, long_recording: Path
) -> None:
    def waiting() -> list[str]:
        with psycopg.connect(project.db_url) as owner:
            return [str(row[0]) for row in owner.execute("select smelt_id from smelt.leases where waits")]

    async with customer(project) as app:
        long, short = await app.create(long_recording), await app.create(RECORDINGS / "greeting.ogg")
        await app.calls.submit_smelt(long.id)
        async with app.watching(long.id) as watched, working(project, tmp_path):
            await eventually(lambda: watched.segment_count)
            await app.calls.submit_smelt(short.id)
            await eventually(lambda: waiting() == [str(short.id)])
            assert (await app.state(short.id)).status == "decoding"
            await app.calls.cancel_smelt(long.id)
            assert (await app.ended(short.id)).status == "completed"


async def test_an_outage_of_storage_costs_no_try(project: Stack, tmp_path: Path) -> None:
    async with customer(project) as app, standing_between(project) as between:
        created = await app.create(RECORDINGS / "greeting.ogg")
        between.refuses = STORAGE
        with without_waiting():
            async with working(between.project, tmp_path):
                await app.calls.submit_smelt(created.id)
                await eventually(lambda: between.refused_count > 5 * ATTEMPTS)
                between.refuses = None
                state = await app.ended(created.id)
    assert (state.status, state.attempt) == ("completed", 1)

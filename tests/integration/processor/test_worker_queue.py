"""Who waits for whom: turns between users, and ends that need no worker."""

import asyncio
from pathlib import Path

from bench import RECORDINGS, customer, eventually, work_once
from stacks import Stack, sign_up

from smelt.backend.project import Project
from smelt.backend.worker_calls import WorkerCalls

# As many as one user may have open.
MANY = 95


async def test_one_users_crowd_does_not_delay_anothers_first(project: Stack) -> None:
    """Of two users, the one with the crowd is not served before the other, beyond what runs already."""
    busy, other = sign_up(project), sign_up(project)
    async with (
        customer(project, busy.access_token) as crowd,
        customer(project, other.access_token) as single,
        Project(project.api_url, project.service_role_key) as workers,
    ):
        calls = WorkerCalls(workers.rpc)
        many = await asyncio.gather(*(crowd.create(text_input=f"Note {n}.") for n in range(MANY)))
        running = (await calls.claim_smelts("first", max_count=3)).smelts
        first = await single.create(text_input="The only one.")
        assert (await single.state(first.id)).queue_position == 1
        claimed = (await calls.claim_smelts("second", max_count=2)).smelts
        assert claimed[0].id == first.id
        assert {claim.id for claim in (*running, claimed[1])} <= {created.id for created in many}
        places = [state.queue_position for state in [await crowd.state(created.id) for created in many]]
        assert sorted(place for place in places if place) == list(range(1, MANY - 3))
        await asyncio.gather(
            *(crowd.calls.delete_smelt(created.id) for created in many), single.calls.delete_smelt(first.id)
        )


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

"""Promises to watchers that no other test covers: progress per file, callbacks and channels."""

import asyncio
from pathlib import Path

import pytest

from smelt.backend.project import Project
from smelt.backend.realtime import Broadcast, ChannelEvent
from smelt.subscriber.client import Client
from smelt.subscriber.updates import Completed, Progress, Update
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import Stack, User
from tests.harness.waiting import until

RECORDINGS = Path(__file__).parents[2] / "recordings"


async def test_progress_is_per_file_and_completion_has_all_results(
    client: Client, scripted_worker: ScriptedWorker
) -> None:
    created = await client.create(files=[RECORDINGS / f"{name}.ogg" for name in ("greeting", "budget", "deadline")])
    first, second, third = (file.id for file in created.files)
    updates: list[Update] = []

    async def watch() -> None:
        async for update in client.watch(created.id):
            updates.extend([update])

    def files() -> dict[object, tuple[str, float]]:
        last = next((update for update in reversed(updates) if isinstance(update, Progress)), None)
        return {} if last is None else {file.id: (file.status, file.progress) for file in last.files}

    watching = asyncio.create_task(watch())
    await until(lambda: set(files().values()) == {("pending", 0)})
    job = await scripted_worker.claim(created.id)
    await job.report("transcribing", 40, files=[_file(first, 80), _file(second, 30)])
    await until(lambda: files() == {first: ("processing", 80), second: ("processing", 30), third: ("pending", 0)})
    # A report on some files leaves the others unchanged, and no progress goes back.
    await job.report("transcribing", 45, files=[_file(first, 10), {"id": str(second), "status": "completed"}])
    await until(lambda: files() == {first: ("processing", 80), second: ("completed", 100), third: ("pending", 0)})
    await job.complete()
    await asyncio.wait_for(watching, 30)
    last = updates[-1]
    assert isinstance(last, Completed)
    assert [(result.file_id, result.filename, result.content) for result in last.results] == [
        (first, "greeting.ogg", "notes"),
        (second, "budget.ogg", "notes"),
        (third, "deadline.ogg", "notes"),
    ]


@pytest.mark.parametrize("ending", ["completed", "failed"])
async def test_subscription_closes_itself_on_completion_and_failure(
    client: Client, scripted_worker: ScriptedWorker, ending: str
) -> None:
    created = await client.create(text="Ship it on Monday.")
    received: list[str] = []
    subscription = await client.subscribe(
        created.id,
        on_completed=lambda update: received.append(update.status),
        on_failed=lambda update: received.append(update.status),
    )
    await until(lambda: client.diagnostics().connection.joined_count == 1)
    job = await scripted_worker.claim(created.id)
    await (job.complete() if ending == "completed" else job.fail("synthesis_failed"))
    await asyncio.wait_for(subscription.wait_closed(), 30)
    assert received == [ending]
    await until(lambda: client.diagnostics().connection.socket_count == 0)
    assert client.diagnostics().connection.channel_count == 0
    assert client.diagnostics().watches == ()


async def test_subscription_channel_of_create_carries_progress_and_completion(
    shared_stack: Stack, user: User, client: Client, scripted_worker: ScriptedWorker
) -> None:
    created = await client.create(text="Ship it on Monday.")
    assert created.subscription_channel == f"smelt:{created.id}"
    received: list[ChannelEvent] = []
    async with Project(shared_stack.api_url, shared_stack.anon_key, access_token=user.access_token) as project:
        channel = await project.realtime.join(created.subscription_channel, received.append)
        assert await channel.wait_joined(30)
        job = await scripted_worker.claim(created.id)
        await job.report("synthesizing", 80)
        await job.complete()
        await until(lambda: [one.event for one in received if isinstance(one, Broadcast)] == ["progress", "completed"])


def _file(file_id: object, progress: float) -> dict[str, object]:
    return {"id": str(file_id), "status": "processing", "progress": progress}

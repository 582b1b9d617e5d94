"""The fake client lets users of the library test their code with scripted smelts."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

import smelt
from smelt.testing import FakeClient, FakeSmelt

pytest_plugins = ["pytester"]

OF_A_USER = """
import asyncio, smelt

async def percentages(client, smelt_id):
    return [update.percentage async for update in client.watch(smelt_id) if isinstance(update, smelt.Progress)]

def test_my_view(smelt_client):
    async def follow():
        job = smelt_client.add("meeting.m4a")
        watching = asyncio.create_task(percentages(smelt_client, job.id))
        job.progress("transcribing", 40, eta_seconds=12)
        job.complete("# Notes")
        return await watching

    assert asyncio.run(follow()) == [0, 40]
"""

HEAVY = """
import sys

def test_plugin_loads_no_module_unless_it_is_used():
    assert not {"httpx", "pydantic", "realtime", "postgrest", "smelt.testing"} & set(sys.modules)
"""


@pytest.fixture
async def client() -> AsyncIterator[FakeClient]:
    async with FakeClient() as opened:
        yield opened


async def collect_updates(client: FakeClient, smelt_id: object) -> list[smelt.Update]:
    return [update async for update in client.watch(str(smelt_id))]


async def test_fake_client_delivers_the_same_updates_to_every_watch(client: FakeClient) -> None:
    created = await client.create(files=["a.ogg", "b.ogg"], prompts=["summarize"])
    job = client.smelts[created.id]
    early = asyncio.create_task(collect_updates(client, created.id))
    job.progress("decoding")
    await asyncio.sleep(0)
    job.progress("transcribing", 40, message="Resuming...", eta_seconds=3)
    job.progress("transcribing", 30)
    job.segments("one", "two")
    job.segments("three")
    job.segments("other", file=1)
    job.complete("notes", outcome="partial")
    first, *between, last = await early
    assert [first, *between, last] == await collect_updates(client, created.id) == job.updates
    assert isinstance(last, smelt.Completed)
    assert [result.content for result in last.results] == ["notes", ""]
    assert (await client.wait(created.id)).outcome == "partial"
    percentages = [update.percentage for update in between if isinstance(update, smelt.Progress)]
    assert percentages == [10, 40, 40]
    spoken = [one for update in between if isinstance(update, smelt.Segments) for one in update.segments]
    assert [(one.index, one.text) for one in spoken] == [(0, "one"), (1, "two"), (2, "three"), (0, "other")]


async def test_worker_online_can_be_played(client: FakeClient) -> None:
    job = client.add()
    job.workers(online=False)
    job.workers(online=False)
    job.workers(online=True)
    job.progress("decoding")
    online = [update.worker_online for update in job.updates if isinstance(update, smelt.Progress)]
    assert online == [None, False, True, True]


async def test_fake_client_simulates_failures_cancels_and_errors(client: FakeClient) -> None:
    job = client.add()
    job.fail("corrupted_file")
    with pytest.raises(smelt.SmeltFailed, match="corrupted_file"):
        await client.wait(job.id)
    with pytest.raises(ValueError, match="has ended"):
        job.progress("decoding")
    created = await client.create(text="Ship it.")
    await client.cancel(created.id)
    await client.cancel(created.id)
    assert isinstance((await collect_updates(client, created.id))[-1], smelt.Failed)
    broken = client.add()
    broken.raise_error(smelt.Unauthorized("signed out"))
    with pytest.raises(smelt.Unauthorized):
        await client.wait(broken.id)
    with pytest.raises(smelt.NotFound):
        await client.wait(FakeSmelt().id)
    with pytest.raises(TimeoutError):
        await client.wait(client.add().id, timeout_s=0)


def test_fake_client_fixture_is_loaded_only_when_used(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_used=OF_A_USER, test_unused=HEAVY)
    # Loaded by its module, so that the test does not depend on installed entry points.
    done = pytester.runpytest_subprocess(
        "-p", "no:smelt", "-p", "smelt.pytest_plugin", "test_unused.py", "test_used.py"
    )
    done.assert_outcomes(passed=2)


async def test_fake_client_calls_callbacks_in_order(client: FakeClient) -> None:
    job = client.add("a.ogg")
    calls: list[object] = []
    subscription = await client.subscribe(
        job.id,
        on_progress=lambda update: calls.append(update.percentage),
        on_segments=lambda update: calls.append(update.segments[0].text),
        on_failed=lambda update: calls.append(update.error_code),
    )
    job.progress("transcribing", 40)
    job.segments("one")
    job.fail("transcription_failed")
    await subscription.wait_closed()
    assert calls == [0, 40, "one", "transcription_failed"]


async def test_fake_client_reports_not_found_to_on_error(client: FakeClient) -> None:
    errors: list[Exception] = []
    subscription = await client.subscribe(UUID(int=1), on_error=errors.append)
    await subscription.wait_closed()
    assert [type(error) for error in errors] == [smelt.NotFound]

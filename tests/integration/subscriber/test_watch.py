"""A watch delivers a smelt from its current state to its end."""

import asyncio
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from smelt.contract.state import Created
from smelt.contract.vocabulary import STAGES
from smelt.errors import NotFound, SmeltFailed, Unauthorized
from smelt.subscriber.client import Client, connect
from smelt.subscriber.updates import Completed, Connected, Failed, Progress, Segments, Update
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import Stack, User, sign_up
from tests.harness.waiting import until

GREETING = Path(__file__).parents[2] / "recordings" / "greeting.ogg"


async def collect_updates(client: Client, smelt_id: UUID, updates: list[Update]) -> None:
    append = updates.append
    async for update in client.watch(smelt_id):
        append(update)


def statuses(updates: list[Update]) -> list[str]:
    return [update.status for update in updates if not isinstance(update, Segments)]


def words(updates: list[Update]) -> list[str]:
    return [segment.text for update in updates if isinstance(update, Segments) for segment in update.segments]


async def create(client: Client) -> Created:
    return await client.create(files=[GREETING])


@pytest.mark.parametrize("polling", [True, False])
async def test_watch_delivers_every_stage_segment_and_completion_live(
    shared_stack: Stack, user: User, scripted_worker: ScriptedWorker, polling: bool
) -> None:
    async with connect(shared_stack.api_url, shared_stack.anon_key, user.access_token, polling=polling) as client:
        created = await client.create(files=[GREETING], submit=False)
        updates: list[Update] = []
        watching = asyncio.create_task(collect_updates(client, created.id, updates))
        await until(lambda: updates)
        await client.submit(created.id)
        job = await scripted_worker.claim(created.id)
        await job.report("validating", 5)
        await job.report("decoding", 15)
        await job.report("transcribing", 30, words=["good", "morning"])
        await job.report("transcribing", 50, words=["everyone"], first=2)
        await job.report("synthesizing", 80)
        await until(lambda: statuses(updates)[-1:] == ["synthesizing"])
        assert client.diagnostics().read_count == 1  # Once after the join; everything else was received live.
        (report,) = client.diagnostics().watches
        assert (report.joined, report.freshness, report.status) == (True, "live", "synthesizing")
        assert None not in (report.last_event_age_s, report.last_read_age_s)
        await job.complete()
        await asyncio.wait_for(watching, 10)

        assert list(dict.fromkeys(statuses(updates))) == list(STAGES)
        percentages = [update.percentage for update in updates if isinstance(update, Progress)]
        assert percentages == sorted(percentages)
        assert words(updates) == ["good", "morning", "everyone"]
        assert isinstance(updates[-1], Completed)
        assert updates[-1].results[0].content == "notes"
        assert created.subscription_channel == f"smelt:{created.id}"
        assert client.diagnostics().watches == ()
        await until(lambda: client.diagnostics().connection.socket_count == 0)


async def test_watch_yields_connection_events_only_on_request(client: Client, scripted_worker: ScriptedWorker) -> None:
    created = await create(client)
    plain: list[Update] = []
    watching = asyncio.create_task(collect_updates(client, created.id, plain))
    updates = client.watch(created.id, connection_events=True)
    first, second = await anext(updates), await anext(updates)
    assert {type(first), type(second)} == {Connected, Progress}
    await (await scripted_worker.claim(created.id)).complete()
    assert isinstance([update async for update in updates][-1], Completed)
    await asyncio.wait_for(watching, 10)
    assert {type(update) for update in plain} <= {Progress, Segments, Completed}


async def test_snapshot_is_delivered_to_a_watch_that_starts_late(
    client: Client, scripted_worker: ScriptedWorker
) -> None:
    created = await create(client)
    job = await scripted_worker.claim(created.id)
    await job.report("transcribing", 40, words=["one", "two"], broadcast=False)
    updates: list[Update] = []
    watching = asyncio.create_task(collect_updates(client, created.id, updates))
    await until(lambda: words(updates) == ["one", "two"])
    assert statuses(updates) == ["transcribing"]
    await job.complete()
    await asyncio.wait_for(watching, 10)
    assert isinstance(updates[-1], Completed)


async def test_snapshot_of_an_ended_smelt_completes_wait_and_watch(
    client: Client, scripted_worker: ScriptedWorker
) -> None:
    created = await create(client)
    job = await scripted_worker.claim(created.id)
    await job.report("transcribing", 40, words=["one"], broadcast=False)
    await job.complete(broadcast=False)
    done = await client.wait(created.id, timeout_s=10)
    assert done.results[0].content == "notes"
    updates: list[Update] = []
    await collect_updates(client, created.id, updates)
    assert words(updates) == ["one"]


async def test_wait_for_a_failed_smelt_raises_smelt_failed_with_its_code(
    client: Client, scripted_worker: ScriptedWorker
) -> None:
    created = await create(client)
    job = await scripted_worker.claim(created.id)
    waiting = asyncio.create_task(client.wait(created.id))
    await until(lambda: client.diagnostics().connection.joined_count)
    await job.fail("corrupted_file")
    with pytest.raises(SmeltFailed) as failed:
        await asyncio.wait_for(waiting, 10)
    assert (failed.value.code, failed.value.smelt_id) == ("corrupted_file", str(created.id))


async def test_wait_timeout_raises_and_closes_the_watch(client: Client) -> None:
    created = await create(client)
    with pytest.raises(TimeoutError):
        await client.wait(created.id, timeout_s=0.5)
    await until(lambda: client.diagnostics().connection.socket_count == 0)
    assert client.diagnostics().watches == ()


async def test_cancel_ends_a_watch_without_a_worker(client: Client) -> None:
    created = await create(client)
    updates: list[Update] = []
    watching = asyncio.create_task(collect_updates(client, created.id, updates))
    await until(lambda: client.diagnostics().connection.joined_count)
    await client.cancel(created.id)
    await asyncio.wait_for(watching, 10)
    assert isinstance(updates[-1], Failed)
    assert updates[-1].error_code == "cancelled"


async def test_completion_too_large_to_broadcast_is_read(client: Client, scripted_worker: ScriptedWorker) -> None:
    created = await create(client)
    job = await scripted_worker.claim(created.id)
    waiting = asyncio.create_task(client.wait(created.id))
    await until(lambda: client.diagnostics().connection.joined_count)
    content = "long " * 60_000
    await job.complete(content)
    done = await asyncio.wait_for(waiting, 10)
    assert done.results[0].content == content


async def test_segments_lost_before_completion_are_read_first(
    shared_stack: Stack, user: User, scripted_worker: ScriptedWorker
) -> None:
    async with connect(shared_stack.api_url, shared_stack.anon_key, user.access_token, polling=False) as client:
        created = await create(client)
        job = await scripted_worker.claim(created.id)
        updates: list[Update] = []
        watching = asyncio.create_task(collect_updates(client, created.id, updates))
        await until(lambda: updates)
        await job.report("transcribing", 30, words=["live"])
        await job.report("transcribing", 40, words=["lost"], first=1, broadcast=False)
        await job.complete()
        await asyncio.wait_for(watching, 10)
        assert words(updates) == ["live", "lost"]


async def test_segments_lost_in_a_gap_are_read(
    shared_stack: Stack, user: User, scripted_worker: ScriptedWorker
) -> None:
    async with connect(shared_stack.api_url, shared_stack.anon_key, user.access_token, polling=False) as client:
        created = await create(client)
        job = await scripted_worker.claim(created.id)
        updates: list[Update] = []
        watching = asyncio.create_task(collect_updates(client, created.id, updates))
        await until(lambda: updates)
        await job.report("transcribing", 30, words=["lost"], broadcast=False)
        await job.report("transcribing", 40, words=["live"], first=1)
        await until(lambda: words(updates) == ["lost", "live"])
        await job.complete()
        await asyncio.wait_for(watching, 10)


async def test_retry_missed_by_a_watch_continues_in_the_new_run(
    shared_stack: Stack, user: User, client: Client, scripted_worker: ScriptedWorker
) -> None:
    async with connect(shared_stack.api_url, shared_stack.anon_key, user.access_token, polling=False) as quiet:
        created = await create(client)
        job = await scripted_worker.claim(created.id)
        updates: list[Update] = []
        watching = asyncio.create_task(collect_updates(quiet, created.id, updates))
        await until(lambda: updates)
        await job.report("transcribing", 30, words=["kept"])
        await job.fail("transcription_failed", broadcast=False)
        await client.retry(created.id)
        await until(lambda: any(isinstance(update, Progress) and update.run == 2 for update in updates))
        again = await scripted_worker.claim(created.id)
        await again.report("transcribing", 40, words=["more"], first=1)
        await again.complete()
        await asyncio.wait_for(watching, 10)
        second = [update for update in updates if update.run == 2]
        assert words(second) == ["kept", "more"]
        assert isinstance(updates[-1], Completed)


async def test_unknown_smelt_raises_not_found(client: Client) -> None:
    with pytest.raises(NotFound):
        await client.wait(uuid4(), timeout_s=20)
    with pytest.raises(NotFound):
        await client.get(uuid4())


async def test_watch_of_a_smelt_of_another_user_is_denied(shared_stack: Stack, client: Client) -> None:
    created = await create(client)
    other = sign_up(shared_stack)
    async with (
        connect(shared_stack.api_url, shared_stack.anon_key, other.access_token) as other_client,
        connect(shared_stack.api_url, shared_stack.anon_key, other.access_token, polling=False) as live_only_client,
    ):
        # Realtime takes five seconds to reject a join.
        waiting = [one.wait(created.id, timeout_s=60) for one in (other_client, live_only_client)]
        errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(error) for error in errors] == [NotFound, Unauthorized]


async def test_watch_with_a_rejected_key_raises_unauthorized(shared_stack: Stack) -> None:
    async with connect(shared_stack.api_url, "sb_publishable_nothing") as client:
        with pytest.raises(Unauthorized):
            await client.wait(uuid4(), timeout_s=20)


async def test_watch_by_an_anonymous_visitor_follows_the_own_smelt(
    shared_stack: Stack, scripted_worker: ScriptedWorker
) -> None:
    async with connect(shared_stack.api_url, shared_stack.anon_key, polling=False) as visitor:
        created = await create(visitor)
        updates: list[Update] = []
        watching = asyncio.create_task(collect_updates(visitor, created.id, updates))
        await until(lambda: updates)
        job = await scripted_worker.claim(created.id)
        await job.report("decoding", 12)
        await until(lambda: "decoding" in statuses(updates))
        await job.complete()
        await asyncio.wait_for(watching, 10)
        assert isinstance(updates[-1], Completed)


async def test_watch_exited_early_releases_channel_and_socket(client: Client) -> None:
    created = await create(client)
    async for _ in client.watch(created.id):
        break
    await until(lambda: client.diagnostics().connection.socket_count == 0)
    assert client.diagnostics().watches == ()


async def test_watch_consumer_that_raises_ends_only_its_own_watch(
    client: Client, scripted_worker: ScriptedWorker
) -> None:
    created = await create(client)
    updates: list[Update] = []
    watching = asyncio.create_task(collect_updates(client, created.id, updates))

    async def raise_error() -> None:
        async for _ in client.watch(created.id):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await raise_error()
    job = await scripted_worker.claim(created.id)
    await job.complete()
    await asyncio.wait_for(watching, 10)
    assert isinstance(updates[-1], Completed)


async def test_watch_coalesces_progress_but_not_segments_for_a_slow_consumer(
    client: Client, scripted_worker: ScriptedWorker
) -> None:
    created = await create(client)
    job = await scripted_worker.claim(created.id)
    updates: list[Update] = []
    resume = asyncio.Event()

    async def consume_slowly() -> None:
        async for update in client.watch(created.id):
            updates.append(update)
            await resume.wait()

    watching = asyncio.create_task(consume_slowly())
    await until(lambda: updates)
    for step in range(20):
        await job.report("transcribing", 20 + step, words=[str(step)], first=step)
    await job.complete()
    await until(lambda: client.diagnostics().watches == () or client.diagnostics().watches[0].status == "completed")
    resume.set()
    await asyncio.wait_for(watching, 10)
    assert words(updates) == [str(step) for step in range(20)]
    assert len(updates) <= 5


async def test_close_ends_pending_watches(shared_stack: Stack, user: User) -> None:
    client = connect(shared_stack.api_url, shared_stack.anon_key, user.access_token)
    created = await create(client)
    updates: list[Update] = []
    watching = asyncio.create_task(collect_updates(client, created.id, updates))
    await until(lambda: updates)
    await client.aclose()
    (outcome,) = await asyncio.wait_for(asyncio.gather(watching, return_exceptions=True), 10)
    assert isinstance(outcome, Exception)

"""A subscription calls its callbacks in order until the smelt ends."""

import asyncio

from smelt.errors import NotFound
from smelt.subscriber.client import Client
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.waiting import until


async def test_callbacks_of_every_kind_are_called_until_completion(
    client: Client, scripted_worker: ScriptedWorker
) -> None:
    created = await client.create(text="Ship it on Monday.")
    job = await scripted_worker.claim(created.id)
    calls: list[str] = []

    async def on_segments(update: object) -> None:
        await asyncio.sleep(0)
        calls.append("segments")

    subscription = await client.subscribe(
        created.id,
        on_progress=lambda update: calls.append(update.status),
        on_segments=on_segments,
        on_completed=lambda update: calls.append("completed"),
        on_failed=lambda update: calls.append("failed"),
        on_connected=lambda: calls.append("connected"),
    )
    await until(lambda: "pending" in calls)
    await job.report("transcribing", 40, words=["ship"])
    await until(lambda: "segments" in calls)
    await job.complete()
    await asyncio.wait_for(subscription.wait_closed(), 10)
    assert subscription.smelt_id == created.id
    # A progress and its segments are one event.
    assert calls == ["connected", "pending", *calls[2:4], "completed"]
    assert sorted(calls[2:4]) == ["segments", "transcribing"]
    assert client.diagnostics().watches == ()


async def test_callback_on_failed_gets_error_code_and_message(client: Client, scripted_worker: ScriptedWorker) -> None:
    created = await client.create(text="Ship it on Monday.")
    job = await scripted_worker.claim(created.id)
    failures = []
    subscription = await client.subscribe(created.id, on_failed=failures.append)
    await job.fail("synthesis_failed")
    await asyncio.wait_for(subscription.wait_closed(), 10)
    (failed,) = failures
    assert failed.error_code == "synthesis_failed"
    assert failed.error_message


async def test_callback_that_raises_is_reported_and_the_subscription_continues(
    client: Client, scripted_worker: ScriptedWorker
) -> None:
    created = await client.create(text="Ship it on Monday.")
    job = await scripted_worker.claim(created.id)
    errors: list[Exception] = []

    def raise_error(_: object) -> None:
        raise ZeroDivisionError

    completed = []
    subscription = await client.subscribe(
        created.id, on_progress=raise_error, on_completed=completed.append, on_error=errors.append
    )
    await until(lambda: errors)
    await job.complete()
    await asyncio.wait_for(subscription.wait_closed(), 10)
    assert completed
    assert all(isinstance(error, ZeroDivisionError) for error in errors)


async def test_refresh_reads_progress_that_was_not_broadcast(client: Client, scripted_worker: ScriptedWorker) -> None:
    created = await client.create(text="Ship it on Monday.")
    job = await scripted_worker.claim(created.id)
    calls: list[str] = []
    subscription = await client.subscribe(created.id, on_progress=lambda update: calls.append(update.status))
    await until(lambda: calls)
    await job.report("synthesizing", 80, broadcast=False)
    subscription.refresh()
    await until(lambda: calls[-1] == "synthesizing")
    await subscription.close()
    assert subscription.closed
    await until(lambda: client.diagnostics().connection.socket_count == 0)


async def test_refresh_can_be_awaited_until_the_state_was_read(client: Client, scripted_worker: ScriptedWorker) -> None:
    created = await client.create(text="Ship it on Monday.")
    job = await scripted_worker.claim(created.id)
    statuses: list[str] = []
    subscription = await client.subscribe(created.id, on_progress=lambda update: statuses.append(update.status))
    await asyncio.wait_for(subscription.refresh(), 10)
    read_count = client.diagnostics().read_count
    await job.report("synthesizing", 80, broadcast=False)
    await asyncio.wait_for(subscription.refresh(), 10)
    assert client.diagnostics().read_count > read_count
    assert client.diagnostics().watches[0].status == "synthesizing"
    await until(lambda: statuses[-1:] == ["synthesizing"])
    unread = subscription.refresh()
    await subscription.close()
    await asyncio.wait_for(unread, 10)
    await asyncio.wait_for(subscription.refresh(), 10)


async def test_queue_position_is_delivered_as_it_changes(client: Client) -> None:
    ahead, created = [await client.create(text=text) for text in ("One", "Two")]
    positions: list[int] = []
    subscription = await client.subscribe(
        created.id, on_progress=lambda update: positions.append(update.queue_position or 0)
    )
    await until(lambda: positions)
    assert positions[0] > 1
    await client.cancel(ahead.id)
    subscription.refresh()
    await until(lambda: positions[-1] < positions[0])
    await subscription.close()


async def test_subscription_of_a_deleted_smelt_reports_not_found_and_closes(client: Client) -> None:
    created = await client.create(text="Ship it on Monday.")
    await client.delete(created.id)
    errors: list[Exception] = []
    subscription = await client.subscribe(created.id, on_error=errors.append)
    await asyncio.wait_for(subscription.wait_closed(), 20)
    assert isinstance(errors[-1], NotFound)

"""A watch works with live events or polling alone; without permission for both it ends with an error."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from smelt.backend.project import Project
from smelt.backend.realtime import RealtimeTimings
from smelt.contract.channels import smelt_channel
from smelt.contract.state import Created
from smelt.errors import NotFound, Unauthorized, Unavailable
from smelt.subscriber.client import Client, connect
from tests.harness.faults import sending_messages, system_error
from tests.harness.proxies import FaultyProxy
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import Stack, User, sign_up
from tests.harness.waiting import until
from tests.integration.subscriber.watch_recorder import WatchRecorder

GREETING = Path(__file__).parents[2] / "recordings" / "greeting.ogg"


@pytest.fixture
async def live_only_client(shared_stack: Stack, proxy: FaultyProxy, user: User) -> AsyncIterator[Client]:
    """A client behind the proxy that does not poll."""
    async with connect(proxy.url, shared_stack.anon_key, user.access_token, polling=False) as client:
        yield client


@pytest.fixture
async def polling(shared_stack: Stack, proxy: FaultyProxy, user: User) -> AsyncIterator[Client]:
    """A client behind the proxy that polls."""
    async with connect(proxy.url, shared_stack.anon_key, user.access_token) as client:
        yield client


async def create(shared_stack: Stack, user: User) -> Created:
    async with connect(shared_stack.api_url, shared_stack.anon_key, user.access_token) as client:
        return await client.create(files=[GREETING])


async def test_polling_alone_delivers_progress_and_completion(
    shared_stack: Stack, proxy: FaultyProxy, user: User, polling: Client, scripted_worker: ScriptedWorker
) -> None:
    proxy.reject("realtime")
    created = await create(shared_stack, user)
    job = await scripted_worker.claim(created.id)
    viewer = WatchRecorder(polling, created.id)
    await job.report("transcribing", 33, words=["polled"])
    await until(lambda: viewer.words == ["polled"], timeout_s=30)
    await job.complete()
    await viewer.end()
    assert polling.diagnostics().connection.reconnect_count == 0
    assert polling.diagnostics().connection.last_error is not None


async def test_polling_covers_a_suspect_socket_before_the_heartbeat_timeout(
    shared_stack: Stack, proxy: FaultyProxy, user: User, scripted_worker: ScriptedWorker
) -> None:
    created = await create(shared_stack, user)
    job = await scripted_worker.claim(created.id)
    timings = RealtimeTimings(heartbeat_interval_s=0.4, reply_timeout_s=8)
    async with (
        Client(Project(proxy.url, shared_stack.anon_key, access_token=user.access_token, timings=timings)) as polling,
        Client(
            Project(proxy.url, shared_stack.anon_key, access_token=user.access_token, timings=timings), polling=False
        ) as live_only_client,
    ):
        reader, listener = WatchRecorder(polling, created.id), WatchRecorder(live_only_client, created.id)
        await until(lambda: all(viewer.joined and viewer.updates for viewer in (reader, listener)))
        assert polling.diagnostics().read_count == 1
        proxy.make_half_open("realtime")
        await job.report("transcribing", 33, words=["read"])
        await until(lambda: reader.words == ["read"])
        assert (reader.joined, reader.rejoin_count) == (True, 0)
        assert listener.words == []
        for viewer in (reader, listener):
            await viewer.stop()


async def test_live_events_alone_deliver_progress_and_completion(
    shared_stack: Stack, proxy: FaultyProxy, user: User, polling: Client, scripted_worker: ScriptedWorker
) -> None:
    created = await create(shared_stack, user)
    job = await scripted_worker.claim(created.id)
    viewer = WatchRecorder(polling, created.id)
    await until(lambda: viewer.joined and viewer.updates)
    proxy.reject("rest")
    await job.report("transcribing", 33, words=["live"])
    await until(lambda: viewer.words == ["live"])
    await job.complete("all of it")
    done = await viewer.end()
    assert done.results[0].content == "all of it"


async def test_completion_too_large_to_broadcast_is_delivered_after_a_read(
    shared_stack: Stack, proxy: FaultyProxy, user: User, live_only_client: Client, scripted_worker: ScriptedWorker
) -> None:
    created = await create(shared_stack, user)
    job = await scripted_worker.claim(created.id)
    viewer = WatchRecorder(live_only_client, created.id)
    await until(lambda: viewer.joined and viewer.updates)
    proxy.reject("rest")
    content = "long " * 60_000
    await job.complete(content)
    await until(lambda: live_only_client.diagnostics().read_failures_in_a_row >= 2)
    proxy.heal()
    done = await viewer.end()
    assert done.results[0].content == content


async def test_reconnect_is_reported_to_a_subscription_after_disconnect(
    shared_stack: Stack, proxy: FaultyProxy, user: User, polling: Client, scripted_worker: ScriptedWorker
) -> None:
    created = await create(shared_stack, user)
    job = await scripted_worker.claim(created.id)
    calls: list[str] = []
    errors: list[Exception] = []
    subscription = await polling.subscribe(
        created.id,
        on_progress=lambda update: calls.append(update.status),
        on_completed=lambda _: calls.append("completed"),
        on_error=errors.append,
        on_connected=lambda: calls.append("connected"),
        on_disconnected=lambda: calls.append("disconnected"),
    )
    await until(lambda: "transcribing" in calls or "pending" in calls)
    proxy.reject()
    await until(lambda: "disconnected" in calls)
    await until(lambda: errors)
    proxy.heal()
    await until(lambda: calls.count("connected") == 2, timeout_s=20)
    await job.complete()
    await asyncio.wait_for(subscription.wait_closed(), 20)
    assert calls[-1] == "completed"
    assert all(isinstance(error, Unavailable) for error in errors)
    assert subscription.closed


async def test_watch_that_lost_permission_ends_with_a_typed_error(
    shared_stack: Stack, proxy: FaultyProxy, user: User, live_only_client: Client, polling: Client
) -> None:
    created = await create(shared_stack, user)
    listener, reader = WatchRecorder(live_only_client, created.id), WatchRecorder(polling, created.id)
    await until(lambda: all(viewer.joined and viewer.updates for viewer in (listener, reader)))
    async with await psycopg.AsyncConnection.connect(shared_stack.db_url) as connection:
        owner = "update public.smelts set user_id = %s where id = %s"
        await connection.execute(owner, (sign_up(shared_stack).id, created.id))
    topic = smelt_channel(str(created.id))
    denial = system_error(f"You do not have permissions to read from this Channel topic: {topic}")
    async with sending_messages(denial, ("phx_close", {}))(proxy, [topic]):
        with pytest.raises(Unauthorized):
            await listener.end()
        with pytest.raises(NotFound):
            await reader.end()
    assert live_only_client.diagnostics().watches == polling.diagnostics().watches == ()

"""Tasks that follow or close may be cancelled at each await and at any moment without leaking resources."""

import asyncio
from uuid import UUID

import pytest

from smelt.subscriber.client import Client, connect
from tests.harness.cancellation import cancel_at_every_await
from tests.harness.followers import FOLLOWERS, Follower
from tests.harness.leaks import assert_no_leaks
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import Stack, User
from tests.harness.waiting import until

# Iterations of the event loop; a join takes about a hundred.
MOMENTS = (*range(24), 30, 40, 60, 90, 140, 200, 400)


async def ended(client: Client, scripted_worker: ScriptedWorker) -> tuple[UUID, UUID]:
    """Return the ids of a smelt that has ended and of its batch."""
    batch = await client.create_batch()
    created = await client.create(text="Ship it on Monday.", batch_id=batch.id)
    await (await scripted_worker.claim(created.id)).complete()
    return created.id, batch.id


@pytest.mark.parametrize("follow", FOLLOWERS)
async def test_cancelled_task_releases_its_resources_at_any_await(
    shared_stack: Stack, user: User, scripted_worker: ScriptedWorker, follow: Follower
) -> None:
    async with connect(shared_stack.api_url, shared_stack.anon_key, user.access_token) as creator:
        ids = await ended(creator, scripted_worker)

    def is_free(client: Client) -> bool:
        report = client.diagnostics()
        return not report.watches and report.connection.channel_count == 0

    async with (
        assert_no_leaks(),
        connect(shared_stack.api_url, shared_stack.anon_key, user.access_token) as client,
    ):

        async def check() -> None:
            assert is_free(client)

        for repeatedly in (False, True):
            cancel_count = await cancel_at_every_await(lambda: follow(client, *ids), check, repeatedly=repeatedly)
            assert cancel_count
        for moment in MOMENTS:
            task = asyncio.ensure_future(follow(client, *ids))
            for _ in range(moment):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await check()
        await until(lambda: client.diagnostics().connection.socket_count == 0, timeout_s=30)


@pytest.mark.parametrize("repeatedly", [False, True])
async def test_close_cancelled_at_any_await_releases_every_resource(
    shared_stack: Stack, user: User, repeatedly: bool
) -> None:
    """The client has a follower of every kind and several connections to PostgREST."""

    async def opened() -> Client:
        client = connect(shared_stack.api_url, shared_stack.anon_key, user.access_token)
        batch = await client.create_batch()
        created = await asyncio.gather(*(client.create(text="Ship it on Monday.", batch_id=batch.id) for _ in range(3)))
        tasks.extend(asyncio.ensure_future(follow(client, created[0].id, batch.id)) for follow in FOLLOWERS)
        await until(lambda: client.diagnostics().connection.joined_count == 4)
        return client

    async with assert_no_leaks():
        tasks: list[asyncio.Future[None]] = []
        client = await opened()

        async def check() -> None:
            nonlocal client
            await asyncio.wait(tasks, timeout=30)
            assert all(task.done() for task in tasks)
            await until(lambda: client.diagnostics().connection.socket_count == 0)
            client = await opened()

        assert await cancel_at_every_await(lambda: client.aclose(), check, repeatedly=repeatedly)
        await client.aclose()
        await asyncio.gather(*tasks, return_exceptions=True)

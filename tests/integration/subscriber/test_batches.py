"""Watches of a batch end with its last smelt."""

import asyncio
from uuid import uuid4

import pytest

from smelt.errors import NotFound, Unauthorized
from smelt.subscriber.client import Client, connect
from smelt.subscriber.updates import BatchProgress
from tests.harness.proxies import FaultyProxy
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import Stack, User, sign_up
from tests.harness.waiting import until


async def watch(client: Client, batch_id: object, states: list[BatchProgress]) -> None:
    async for update in client.watch_batch(str(batch_id)):
        states.extend([update])


@pytest.mark.parametrize("polling", [True, False])
async def test_batch_counts_are_delivered_until_its_last_smelt_ends(
    shared_stack: Stack, user: User, scripted_worker: ScriptedWorker, polling: bool
) -> None:
    async with connect(shared_stack.api_url, shared_stack.anon_key, user.access_token, polling=polling) as client:
        batch = await client.create_batch("Interviews")
        smelts = [await client.create(text=f"Text {number}", batch_id=batch.id) for number in range(3)]
        states: list[BatchProgress] = []
        watching = asyncio.create_task(watch(client, batch.id, states))
        await until(lambda: states)
        for smelt in smelts[:2]:
            await (await scripted_worker.claim(smelt.id)).complete()
        await (await scripted_worker.claim(smelts[2].id)).fail("synthesis_failed")
        await asyncio.wait_for(watching, 20)
        assert [update.seq for update in states] == sorted({update.seq for update in states})
        last = states[-1]
        assert (last.total, last.completed, last.failed, last.progress) == (3, 2, 1, 100)
        assert last.status == "completed"
        await until(lambda: client.diagnostics().connection.socket_count == 0)


async def test_batch_end_without_a_broadcast_is_found_by_polling(
    shared_stack: Stack, proxy: FaultyProxy, user: User, scripted_worker: ScriptedWorker
) -> None:
    proxy.reject("realtime")
    async with connect(proxy.url, shared_stack.anon_key, user.access_token) as client:
        batch = await client.create_batch()
        smelt = await client.create(text="Text", batch_id=batch.id)
        states: list[BatchProgress] = []
        watching = asyncio.create_task(watch(client, batch.id, states))
        await until(lambda: states)
        proxy.reject()
        await (await scripted_worker.claim(smelt.id)).complete(broadcast=False)
        proxy.heal()
        await asyncio.wait_for(watching, 20)
        assert states[-1].status == "completed"


async def test_batch_of_another_user_raises_not_found_or_unauthorized(shared_stack: Stack, client: Client) -> None:
    batch = await client.create_batch()
    other = sign_up(shared_stack)
    async with (
        connect(shared_stack.api_url, shared_stack.anon_key, other.access_token) as other_client,
        connect(shared_stack.api_url, shared_stack.anon_key, other.access_token, polling=False) as live_only_client,
    ):
        watching = (
            watch(other_client, batch.id, []),
            watch(live_only_client, batch.id, []),
            watch(client, uuid4(), []),
        )
        # Realtime takes five seconds to reject a join.
        errors = await asyncio.wait_for(asyncio.gather(*watching, return_exceptions=True), 60)
    assert [type(error) for error in errors] == [NotFound, Unauthorized, NotFound]


async def test_create_batch_feed_and_notifications_without_sign_in_raise_unauthorized(shared_stack: Stack) -> None:
    async with connect(shared_stack.api_url, shared_stack.anon_key) as visitor:
        with pytest.raises(Unauthorized, match="sign in first"):
            await visitor.create_batch()
        for opening in (visitor.feed().__aenter__, visitor.notifications().__aenter__):
            with pytest.raises(Unauthorized, match="sign in first"):
                await opening()
        with pytest.raises(Unauthorized, match="sign in first"):
            await anext(visitor.watch_batch(uuid4()))
    async with connect(shared_stack.api_url, shared_stack.service_role_key) as service:
        with pytest.raises(Unauthorized, match="sign in first"):
            await service.create_batch()

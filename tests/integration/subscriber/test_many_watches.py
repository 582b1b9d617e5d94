"""Many watches of one client share its sockets and its reads."""

import asyncio

from smelt.subscriber.client import Client, connect
from smelt.subscriber.updates import Completed, Update
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import Stack, User
from tests.harness.waiting import until

COUNT = 60


async def last(client: Client, smelt_id: object, received: list[Update]) -> Update:
    async for update in client.watch(str(smelt_id)):
        received += [update]
    return received[-1]


async def test_watches_of_one_client_share_one_socket_and_few_reads(
    shared_stack: Stack, user: User, scripted_worker: ScriptedWorker
) -> None:
    async with connect(shared_stack.api_url, shared_stack.anon_key, user.access_token) as client:
        created = [await client.create(text=f"Text {number}") for number in range(COUNT)]
        received: list[list[Update]] = [[] for _ in created]
        watching = [
            asyncio.create_task(last(client, one.id, updates)) for one, updates in zip(created, received, strict=True)
        ]
        await until(lambda: client.diagnostics().connection.joined_count == COUNT and all(received))
        assert client.diagnostics().connection.socket_count == 1
        assert client.diagnostics().read_count < COUNT
        for one in created:
            await client.cancel(one.id)
        ends = await asyncio.wait_for(asyncio.gather(*watching), 30)
        assert not any(isinstance(end, Completed) for end in ends)
        await until(lambda: client.diagnostics().connection.socket_count == 0)


async def test_watches_of_one_smelt_all_get_its_completion(client: Client, scripted_worker: ScriptedWorker) -> None:
    created = await client.create(text="Ship it on Monday.")
    received: list[list[Update]] = [[], [], []]
    watching = [asyncio.create_task(last(client, created.id, updates)) for updates in received]
    await until(lambda: all(received))
    job = await scripted_worker.claim(created.id)
    await job.complete()
    ends = await asyncio.wait_for(asyncio.gather(*watching), 20)
    assert all(isinstance(end, Completed) for end in ends)

"""Whoever follows or closes may be cancelled wherever they wait, or at any moment, and leave nothing behind."""

import asyncio
from uuid import UUID

import pytest
from following import FOLLOWINGS, Following
from hands import Hand
from interrupting import interrupt_everywhere
from leaks import nothing_left_behind
from stacks import Stack, User
from waiting import until

from smelt.subscriber.client import Client, connect

# Turns of the event loop; a join takes about a hundred.
MOMENTS = (*range(24), 30, 40, 60, 90, 140, 200, 400)


async def ended(client: Client, hand: Hand) -> tuple[UUID, UUID]:
    """A smelt that has ended, and the batch that it is in."""
    batch = await client.create_batch()
    created = await client.create(text="Ship it on Monday.", batch_id=batch.id)
    await (await hand.claim(created.id)).complete()
    return created.id, batch.id


@pytest.mark.parametrize("following", FOLLOWINGS)
async def test_cancelling_leaves_nothing_behind(workshop: Stack, user: User, hand: Hand, following: Following) -> None:
    async with connect(workshop.api_url, workshop.anon_key, user.access_token) as creator:
        about = await ended(creator, hand)

    def is_free(client: Client) -> bool:
        report = client.diagnostics()
        return not report.watches and report.connection.channel_count == 0

    async with (
        nothing_left_behind(),
        connect(workshop.api_url, workshop.anon_key, user.access_token) as client,
    ):

        async def check() -> None:
            assert is_free(client)

        for stubborn in (False, True):
            places = await interrupt_everywhere(lambda: following(client, *about), check, stubborn=stubborn)
            assert places
        for moment in MOMENTS:
            task = asyncio.ensure_future(following(client, *about))
            for _ in range(moment):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await check()
        await until(lambda: client.diagnostics().connection.socket_count == 0, within_s=30)


@pytest.mark.parametrize("stubborn", [False, True])
async def test_a_client_closes_to_the_end(workshop: Stack, user: User, stubborn: bool) -> None:
    """Also while it follows something of every kind, and has several connections to PostgREST."""

    async def opened() -> Client:
        client = connect(workshop.api_url, workshop.anon_key, user.access_token)
        batch = await client.create_batch()
        created = await asyncio.gather(*(client.create(text="Ship it on Monday.", batch_id=batch.id) for _ in range(3)))
        tasks.extend(asyncio.ensure_future(following(client, created[0].id, batch.id)) for following in FOLLOWINGS)
        await until(lambda: client.diagnostics().connection.joined_count == 4)
        return client

    async with nothing_left_behind():
        tasks: list[asyncio.Future[None]] = []
        client = await opened()

        async def check() -> None:
            nonlocal client
            await asyncio.wait(tasks, timeout=30)
            assert all(task.done() for task in tasks)
            await until(lambda: client.diagnostics().connection.socket_count == 0)
            client = await opened()

        assert await interrupt_everywhere(lambda: client.aclose(), check, stubborn=stubborn)
        await client.aclose()
        await asyncio.gather(*tasks, return_exceptions=True)

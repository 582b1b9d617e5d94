"""Whoever follows something may be cancelled wherever they wait, or at any moment, and leave nothing behind."""

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

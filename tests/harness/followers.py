"""All methods that follow a smelt, a batch or a user, each until its end."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from typing import Final
from uuid import UUID

from smelt.errors import SmeltFailed
from smelt.subscriber.client import Client

# The client, a smelt and its batch, of a user who is notified when the smelt ends.
Follower = Callable[[Client, UUID, UUID], Awaitable[None]]


async def watch(client: Client, smelt_id: UUID, batch_id: UUID) -> None:
    async with aclosing(client.watch(smelt_id)) as updates:
        async for _ in updates:
            await asyncio.sleep(0)


async def wait(client: Client, smelt_id: UUID, batch_id: UUID) -> None:
    with suppress(SmeltFailed):
        await client.wait(smelt_id, timeout_s=600)


async def subscribe(client: Client, smelt_id: UUID, batch_id: UUID) -> None:
    subscription = await client.subscribe(smelt_id, on_progress=lambda _: asyncio.sleep(0))
    try:
        await subscription.wait_closed()
    finally:
        await subscription.close()


async def watch_batch(client: Client, smelt_id: UUID, batch_id: UUID) -> None:
    async with aclosing(client.watch_batch(batch_id)) as states:
        async for _ in states:
            await asyncio.sleep(0)


async def feed(client: Client, smelt_id: UUID, batch_id: UUID) -> None:
    async with client.feed(on_invalidate=lambda _: asyncio.sleep(0)) as changes:
        while smelt_id not in changes.smelts or changes.smelts[smelt_id].completed_at is None:
            await anext(changes)


async def notifications(client: Client, smelt_id: UUID, batch_id: UUID) -> None:
    async with client.notifications() as received:
        while (await anext(received)).smelt_id != smelt_id:
            pass


FOLLOWERS: Final[tuple[Follower, ...]] = (watch, wait, subscribe, watch_batch, feed, notifications)

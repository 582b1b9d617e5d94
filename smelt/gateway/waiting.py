"""Waits for the end of a smelt."""

import asyncio
from contextlib import aclosing
from uuid import UUID

from smelt.contract.state import Snapshot
from smelt.contract.vocabulary import TERMINAL_STATUSES
from smelt.gateway.callers import Caller
from smelt.gateway.clients import Clients
from smelt.subscriber.client import Client
from smelt.subscriber.updates import Completed, Failed


async def wait_for_end(
    caller: Caller, clients: Clients, drain: asyncio.Event, smelt_id: UUID, timeout_s: float
) -> Snapshot | None:
    """Return the smelt once it has ended; None after `timeout_s`, or if the gateway stops before."""
    async with clients.lease(caller) as client:
        tasks = {asyncio.create_task(_watch_until_end(client, smelt_id)), asyncio.create_task(drain.wait())}
        try:
            await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    state = await caller.calls.get_smelt(smelt_id)
    return state if isinstance(state, Snapshot) and state.status in TERMINAL_STATUSES else None


async def _watch_until_end(client: Client, smelt_id: UUID) -> None:
    async with aclosing(client.watch(smelt_id)) as updates:
        async for update in updates:
            if isinstance(update, Completed | Failed):
                return

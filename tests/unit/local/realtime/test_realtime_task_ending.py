"""Cancellation of tasks, including those that swallow it."""

import asyncio
from contextlib import suppress

from smelt.local.realtime.ending import end


async def test_task_that_swallows_its_cancellation_is_ended() -> None:
    async def stubborn() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    async def failing() -> None:
        raise LookupError

    tasks = [asyncio.create_task(stubborn()), asyncio.create_task(failing())]
    await asyncio.sleep(0)
    (failure,) = await end(tasks)
    assert isinstance(failure, LookupError)
    assert all(task.done() for task in tasks)
    assert await end([]) == []

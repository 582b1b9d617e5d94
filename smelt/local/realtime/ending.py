"""Cancels tasks reliably."""

import asyncio
from collections.abc import Collection
from typing import Final

TIMEOUT_S: Final = 0.5


async def end(tasks: Collection[asyncio.Task[None]]) -> list[BaseException]:
    """Cancel tasks until all have ended, and return their exceptions.

    One cancellation is not enough: before Python 3.12, `asyncio.wait_for`, which libraries use, swallows a cancellation
    that arrives together with the result.
    """
    running: Collection[asyncio.Task[None]] = tasks
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=TIMEOUT_S)
    failures = (None if task.cancelled() else task.exception() for task in tasks)
    return [failure for failure in failures if failure is not None]

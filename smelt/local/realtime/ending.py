"""Ending tasks for good."""

import asyncio
from collections.abc import Collection
from typing import Final

TIMEOUT_S: Final = 0.5


async def end(tasks: Collection[asyncio.Task[None]]) -> list[BaseException]:
    """Cancel tasks until all have ended, and answer with what they failed.

    Once is not enough: before Python 3.12 `asyncio.wait_for`, which libraries build on, swallows a cancellation that
    comes together with the result.
    """
    running: Collection[asyncio.Task[None]] = tasks
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=TIMEOUT_S)
    failures = (None if task.cancelled() else task.exception() for task in tasks)
    return [failure for failure in failures if failure is not None]

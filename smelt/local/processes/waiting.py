"""Polls for changes outside this process that raise no event, such as files of other processes."""

import asyncio
from collections.abc import Callable

POLL_INTERVAL_S = 0.01


async def until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Poll until the condition holds; return False on a timeout."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    # ASYNC110 suggests an `asyncio.Event`, which another process cannot set.
    while not (holds := condition()) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(POLL_INTERVAL_S)
    return holds

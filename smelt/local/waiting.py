"""Waiting for what no event tells of: other processes and their files."""

import asyncio
from collections.abc import Callable

PAUSE_S = 0.01


async def until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Look every few milliseconds until the condition holds; answer whether it came to hold in time."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    # ASYNC110 wants an `asyncio.Event`, which another process cannot set.
    while not (holds := condition()) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(PAUSE_S)
    return holds

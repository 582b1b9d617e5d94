"""Waiting for a condition with a timeout, instead of a sleep."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Final

TIMEOUT_S: Final = 60.0
INTERVAL_S: Final = 0.01


async def until(condition: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
    """Return as soon as the condition, which may be a coroutine function, holds; fail after the timeout."""
    deadline = time.monotonic() + timeout_s
    while not await _value(condition()):
        assert time.monotonic() < deadline, f"the condition did not hold within {timeout_s:.0f} s"
        await asyncio.sleep(INTERVAL_S)


def wait_until(
    condition: Callable[[], object], expected: str | Callable[[], str] = "a condition", timeout_s: float = TIMEOUT_S
) -> None:
    """Do the same in a thread without an event loop; fail with a description of what was expected."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        description = expected if isinstance(expected, str) else expected()
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s for {description}"
        time.sleep(INTERVAL_S)


async def _value(result: object) -> object:
    return await result if inspect.isawaitable(result) else result

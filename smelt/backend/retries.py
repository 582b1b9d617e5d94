"""Retries and backoff: the number of attempts and the delays between them. All waits between attempts happen here."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from smelt.errors import TransientError

ATTEMPTS: Final = 4
_CALL_WAIT: Final = wait_random_exponential(multiplier=0.25, max=4)
_RECONNECT_WAIT: Final = wait_random_exponential(multiplier=0.5, max=30)

_waiting = True


async def pause(seconds: float) -> None:
    """Wait between two attempts; return at once inside `without_waiting`."""
    await asyncio.sleep(seconds if _waiting else 0)


@contextmanager
def without_waiting() -> Iterator[None]:
    """Skip all delays between attempts in this process; for tests."""
    global _waiting
    _waiting = False
    try:
        yield
    finally:
        _waiting = True


def transient_retries(attempts: int = ATTEMPTS) -> AsyncRetrying:
    """Retry on `TransientError` with exponential backoff and full jitter; the last error is raised."""
    return AsyncRetrying(
        retry=retry_if_exception_type(TransientError),
        stop=stop_after_attempt(attempts),
        wait=_CALL_WAIT,
        sleep=pause,
        reraise=True,
    )


def reconnect_wait_s(failures: int) -> float:
    """Return the delay after the n-th failure in a row: exponential, full jitter, at most 30 s, without a last one."""
    state = RetryCallState(AsyncRetrying(), None, (), {})
    state.attempt_number = max(1, failures)
    return _RECONNECT_WAIT(state)

"""Waiting for an event with a timeout."""

import asyncio
import math
import time

import pytest

from smelt.backend.waiting import wait_for_event
from tests.harness.simulated_clock import simulate


async def elapsed(event: asyncio.Event, timeout_s: float | None) -> tuple[bool, float]:
    """Return the result of the wait, and its duration."""
    began_s = time.monotonic()
    return await wait_for_event(event, timeout_s), time.monotonic() - began_s


@pytest.mark.parametrize("timeout_s", [60, math.inf, None])
def test_wait_for_event_ends_when_the_event_is_set(timeout_s: float | None) -> None:
    async def set_later() -> tuple[bool, float]:
        event = asyncio.Event()
        asyncio.get_running_loop().call_later(5, event.set)
        return await elapsed(event, timeout_s)

    assert simulate(set_later(), 1) == (True, 5)


@pytest.mark.parametrize(("timeout_s", "waited_s"), [(5, 5), (0, 0), (-1, 0)])
def test_wait_for_event_times_out(timeout_s: float, waited_s: float) -> None:
    async def set_late() -> tuple[bool, float]:
        event = asyncio.Event()
        asyncio.get_running_loop().call_later(6, event.set)
        return await elapsed(event, timeout_s)

    assert simulate(set_late(), 1) == (False, waited_s)


def test_wait_for_event_that_is_set_as_it_times_out_returns_true() -> None:
    async def set_at_the_timeout() -> tuple[bool, float]:
        event = asyncio.Event()
        waiting = asyncio.create_task(elapsed(event, 5))
        await asyncio.sleep(0)  # The timer of the wait is the first of its time.
        asyncio.get_running_loop().call_later(5, event.set)
        return await waiting

    assert simulate(set_at_the_timeout(), 1) == (True, 5)


def test_wait_for_event_is_cancelled_with_its_task() -> None:
    async def cancel() -> bool:
        waiting = asyncio.create_task(wait_for_event(asyncio.Event(), 60))
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.wait([waiting])
        return waiting.cancelled()

    assert simulate(cancel(), 1)

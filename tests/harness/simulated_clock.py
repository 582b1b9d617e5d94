"""A simulated clock for asyncio: hours in milliseconds, reproducible by seed."""

import asyncio
import random
import selectors
import time
from collections.abc import Coroutine
from typing import Any, TypeVar
from unittest import mock

T = TypeVar("T")


class SimulatedClock(selectors.DefaultSelector):
    """A selector that never waits: when idle, it advances the time to the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "all tasks wait forever"
            self.now += timeout
        return ready


def simulate(work: Coroutine[Any, Any, T], seed: int) -> T:
    """Run a coroutine in simulated time; the same seed results in the same run."""
    clock = SimulatedClock()
    before = random.getstate()
    random.seed(seed)
    try:
        with (
            mock.patch.object(time, "monotonic", clock.monotonic),
            asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(clock)) as runner,
        ):
            return runner.run(work)
    finally:
        random.setstate(before)

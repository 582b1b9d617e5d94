"""The queue for the model: first come, first served."""

import asyncio
import heapq
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Remaining = Callable[[], float | None]
"""Identifies an entry; returns the seconds of model time that it still needs, None while they are unknown."""


@dataclass(eq=False)
class _Entry:
    remaining_s: Remaining
    begun: asyncio.Event = field(default_factory=asyncio.Event)


class ModelQueue:
    """Lets as many entries begin as there are lanes; the others wait in order."""

    def __init__(self, lanes: Callable[[], int] = lambda: 1) -> None:
        self._lanes = lanes
        self._entries: list[_Entry] = []

    @property
    def is_free(self) -> bool:
        """True if a lane is free."""
        return len(self._entries) < self._lanes()

    @asynccontextmanager
    async def lane(self, remaining_s: Remaining) -> AsyncIterator[None]:
        """Wait for a lane and hold it for the block."""
        entry = _Entry(remaining_s)
        self._entries.append(entry)
        try:
            self._begin_first()
            await entry.begun.wait()
            yield
        finally:
            self._entries.remove(entry)
            self._begin_first()

    def wait_s(self, remaining_s: Remaining) -> float | None:
        """Return the seconds until this entry begins, for an unknown one after all entries; None while unknown."""
        free_in_s = [0.0] * self._lanes()
        for ahead in self._entries:
            if ahead.remaining_s == remaining_s:
                break
            if (needed_s := ahead.remaining_s()) is None:
                needed_s = math.inf
            heapq.heapreplace(free_in_s, free_in_s[0] + needed_s)
        return None if free_in_s[0] == math.inf else free_in_s[0]

    def _begin_first(self) -> None:
        for entry in self._entries[: self._lanes()]:
            entry.begun.set()

"""Whose turn it is at the model, first come, first served; and what is in front of whom."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import takewhile

Remaining = Callable[[], float | None]
"""Seconds until the turn of somebody ends, once it has begun; None while that can't be told."""


class ModelQueue:
    """At most `places` at a time; the others wait in order."""

    def __init__(self, places: int = 1) -> None:
        self._slots = asyncio.Semaphore(places)
        self._line: list[Remaining] = []

    @asynccontextmanager
    async def turn(self, left_s: Remaining) -> AsyncIterator[None]:
        """Wait for a turn and hold it."""
        self._line.append(left_s)
        try:
            async with self._slots:
                yield
        finally:
            self._line.remove(left_s)

    def ahead_of(self, left_s: Remaining) -> list[Remaining]:
        """All in front of whoever waits with this, those whose turn it is included; all there are for a newcomer."""
        return list(takewhile(lambda other: other != left_s, self._line))

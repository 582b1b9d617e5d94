"""The queue for the model: first come, first served."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import takewhile

Remaining = Callable[[], float | None]
"""Identifies an entry; returns the seconds of model time that it still needs, None while they are unknown."""


class ModelQueue:
    """Grants at most `slots` at a time; the others wait in order."""

    def __init__(self, slots: int = 1) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._entries: list[Remaining] = []

    @property
    def is_free(self) -> bool:
        """True if a slot is free."""
        return not self._slots.locked()

    @asynccontextmanager
    async def slot(self, remaining_s: Remaining) -> AsyncIterator[None]:
        """Wait for a slot and hold it for the block."""
        self._entries.append(remaining_s)
        try:
            async with self._slots:
                yield
        finally:
            self._entries.remove(remaining_s)

    def ahead_of(self, remaining_s: Remaining) -> list[Remaining]:
        """Return the entries ahead of this one, including running ones; for an unknown entry, all entries."""
        return list(takewhile(lambda other: other != remaining_s, self._entries))

"""Whose turn it is at the model, first come, first served; and how much is in front of whom."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class _Waiting:
    audio_left_s: Callable[[], float]


class Turns:
    """At most `places` at a time; the others wait in order."""

    def __init__(self, places: int = 1) -> None:
        self._slots = asyncio.Semaphore(places)
        self._line: list[_Waiting] = []

    @asynccontextmanager
    async def turn(self, audio_left_s: Callable[[], float]) -> AsyncIterator[None]:
        """Wait for a turn and hold it."""
        entry = _Waiting(audio_left_s)
        self._line.append(entry)
        try:
            async with self._slots:
                yield
        finally:
            self._line.remove(entry)

    def ahead_s(self, audio_left_s: Callable[[], float]) -> float:
        """Seconds of audio in front of whoever waits with this; of all that wait, for one who does not yet."""
        ahead = 0.0
        for entry in self._line:
            if entry.audio_left_s == audio_left_s:
                break
            ahead += entry.audio_left_s()
        return ahead

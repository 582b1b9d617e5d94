"""Rates of events in a project: means over a minute, updated every few seconds. No I/O."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

BUCKETS: Final = 12


@dataclass(slots=True)
class EventRate:
    """Counts events; the rate is the mean of the last twelve complete ticks."""

    tick_s: float
    _ticked_at: float = 0.0
    _count: int = 0
    _buckets: deque[int] = field(default_factory=lambda: deque([0] * BUCKETS, maxlen=BUCKETS))

    def count(self, events: int, now: float) -> None:
        """Count events."""
        self._tick(now)
        self._count += events

    def per_s(self, now: float) -> float:
        """Return the mean per second at the last tick."""
        self._tick(now)
        return sum(self._buckets) / (self.tick_s * BUCKETS)

    def _tick(self, now: float) -> None:
        # After a long silence, limit the loop to the ticks that clear all buckets.
        self._ticked_at = max(self._ticked_at, now - self.tick_s * (BUCKETS + 1))
        while now - self._ticked_at >= self.tick_s:
            self._ticked_at += self.tick_s
            self._buckets.append(self._count)
            self._count = 0


@dataclass(slots=True)
class EventLimit:
    """A limit on a rate; `max_per_s` None means unlimited."""

    max_per_s: int | None
    rate: EventRate

    def count(self, events: int, now: float) -> None:
        """Count events."""
        self.rate.count(events, now)

    def exceeded(self, now: float, more: int = 0) -> bool:
        """Return True if the rate plus `more` events exceeds the limit."""
        return self.max_per_s is not None and self.rate.per_s(now) + more > self.max_per_s

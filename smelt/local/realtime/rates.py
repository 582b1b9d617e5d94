"""How often something happens in a project: a mean over a minute, taken anew every few seconds. No I/O."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

BUCKETS: Final = 12


@dataclass(slots=True)
class EventRate:
    """Counts events; their mean is that of the last twelve ticks, known when the current one is over."""

    tick_s: float
    _ticked_at: float = 0.0
    _count: int = 0
    _buckets: deque[int] = field(default_factory=lambda: deque([0] * BUCKETS, maxlen=BUCKETS))

    def count(self, events: int, now: float) -> None:
        """Count events."""
        self._tick(now)
        self._count += events

    def per_s(self, now: float) -> float:
        """Answer the mean as it was when it was last taken."""
        self._tick(now)
        return sum(self._buckets) / (self.tick_s * BUCKETS)

    def _tick(self, now: float) -> None:
        # After a long silence it takes no more ticks than to forget all.
        self._ticked_at = max(self._ticked_at, now - self.tick_s * (BUCKETS + 1))
        while now - self._ticked_at >= self.tick_s:
            self._ticked_at += self.tick_s
            self._buckets.append(self._count)
            self._count = 0


@dataclass(slots=True)
class EventLimit:
    """A plan's limit of how often something happens; `max_per_s` None is no limit."""

    max_per_s: int | None
    rate: EventRate

    def count(self, events: int, now: float) -> None:
        """Count what happened."""
        self.rate.count(events, now)

    def exceeded(self, now: float, more: int = 0) -> bool:
        """Say whether the mean, and so many events more, are over the limit."""
        return self.max_per_s is not None and self.rate.per_s(now) + more > self.max_per_s

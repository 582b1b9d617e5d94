"""How many messages a project may send and receive: a mean over a minute, taken anew every few seconds. No I/O."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

TICK_S: Final = 5.0
BUCKETS: Final = 12


@dataclass(slots=True)
class EventRate:
    """Counts messages that were sent and those that were delivered; `max_per_s` None is no limit."""

    max_per_s: float | None
    _ticked_at: float = 0.0
    _count: int = 0
    _buckets: deque[int] = field(default_factory=lambda: deque([0] * BUCKETS, maxlen=BUCKETS))

    def count(self, events: int, now: float) -> None:
        """Count messages."""
        self._tick(now)
        self._count += events

    def exceeded(self, now: float) -> bool:
        """Say whether the mean was over the limit when it was last taken."""
        self._tick(now)
        return self.max_per_s is not None and sum(self._buckets) > self.max_per_s * TICK_S * BUCKETS

    def _tick(self, now: float) -> None:
        # After a long silence it takes no more ticks than to forget all.
        self._ticked_at = max(self._ticked_at, now - TICK_S * (BUCKETS + 1))
        while now - self._ticked_at >= TICK_S:
            self._ticked_at += TICK_S
            self._buckets.append(self._count)
            self._count = 0

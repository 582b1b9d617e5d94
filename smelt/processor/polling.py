"""Decides when an idle worker polls for work, and if it may claim expired leases. Pure."""

from typing import Final

_MAX_LIVE_AGE_S: Final = 60.0
_LIVE_INTERVAL_S: Final = 30.0
_JOINED_INTERVAL_S: Final = (10.0, 15.0)
_UNJOINED_INTERVAL_S: Final = 5.0
_MIN_POLL_INTERVAL_S: Final = 0.2

# After an outage, the workers that still work on the smelts renew their leases within this time.
CAUTION_S: Final = 5.0


class Contact:
    """Remembers since when the project has responded to the claims and renewals of a worker; times are in seconds.

    At its start and in an outage, a worker does not know if the project responds to other workers: until 5 seconds
    after the first response, it leaves expired leases to them.
    """

    def __init__(self) -> None:
        self._since_s: float | None = None

    def responded(self, now_s: float) -> None:
        """Note a response."""
        if self._since_s is None:
            self._since_s = now_s

    def lost(self) -> None:
        """Note a call without a response."""
        self._since_s = None

    def is_steady(self, now_s: float) -> bool:
        """Return True if expired leases may be claimed."""
        return self._since_s is not None and now_s >= self._since_s + CAUTION_S


def poll_wait_s(*, joined: bool, since_wake_s: float | None, next_due_in_s: float | None, jitter: float) -> float:
    """Return how long to sleep unless woken: longer if the wake-up channel is fresh, never past the next due time.

    `jitter` between 0 and 1 spreads the polls of several workers.
    """
    wait_s = _freshness_wait_s(joined=joined, since_wake_s=since_wake_s, jitter=jitter)
    if next_due_in_s is None:
        return wait_s
    return min(wait_s, max(_MIN_POLL_INTERVAL_S, next_due_in_s + jitter * _MIN_POLL_INTERVAL_S))


def _freshness_wait_s(*, joined: bool, since_wake_s: float | None, jitter: float) -> float:
    if not joined:
        return _UNJOINED_INTERVAL_S
    if since_wake_s is not None and since_wake_s <= _MAX_LIVE_AGE_S:
        return _LIVE_INTERVAL_S
    low, high = _JOINED_INTERVAL_S
    return low + (high - low) * jitter

"""Decides when an idle worker polls for work. Pure."""

from typing import Final

_MAX_LIVE_AGE_S: Final = 60.0
_LIVE_INTERVAL_S: Final = 30.0
_JOINED_INTERVAL_S: Final = (10.0, 15.0)
_UNJOINED_INTERVAL_S: Final = 5.0
_MIN_POLL_INTERVAL_S: Final = 0.2


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

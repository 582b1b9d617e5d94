"""When an idle worker looks for work by itself. Pure."""

from typing import Final

_LIVE_FOR_S: Final = 60.0
_LIVE_S: Final = 30.0
_JOINED_S: Final = (10.0, 15.0)
_APART_S: Final = 5.0
_MIN_POLL_INTERVAL_S: Final = 0.2


def poll_wait_s(*, joined: bool, since_wake_s: float | None, next_due_in_s: float | None, spread: float) -> float:
    """How long to sleep unless woken: the fresher the wake-up channel, the longer; never past what is due next.

    `spread` between 0 and 1 keeps workers from asking all at once.
    """
    wait_s = _freshness_wait_s(joined=joined, since_wake_s=since_wake_s, spread=spread)
    if next_due_in_s is None:
        return wait_s
    return min(wait_s, max(_MIN_POLL_INTERVAL_S, next_due_in_s + spread * _MIN_POLL_INTERVAL_S))


def _freshness_wait_s(*, joined: bool, since_wake_s: float | None, spread: float) -> float:
    if not joined:
        return _APART_S
    if since_wake_s is not None and since_wake_s <= _LIVE_FOR_S:
        return _LIVE_S
    low, high = _JOINED_S
    return low + (high - low) * spread

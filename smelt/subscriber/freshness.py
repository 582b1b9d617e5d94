"""Polling intervals, chosen by the freshness of the live events. Pure functions."""

from typing import Final, Literal

Freshness = Literal["live", "aging", "stale"]

# The first read waits for the join, so that no event is missed between them, but not longer than this.
FIRST_READ_S: Final = 3.0
# Wait before reading to fill a known gap: the missing event may still arrive.
GAP_READ_S: Final = 1.0
LIVE_POLL_S: Final = 30.0
MIN_AGING_POLL_S: Final = 10.0
MAX_AGING_POLL_S: Final = 15.0
STALE_POLL_S: Final = 5.0
LIVE_FOR_S: Final = 30.0
MAX_POLL_S: Final = 30.0


def freshness(joined: bool, event_age_s: float = 0.0, *, active: bool = False) -> Freshness:
    """Return the freshness: `stale` while not joined; while joined, `aging` or `live`.

    Args:
        joined: The channel is joined.
        event_age_s: Seconds since the last event, or since the join.
        active: Events are expected; they are `aging` if there was none for 30 s.
    """
    if not joined:
        return "stale"
    return "aging" if active and event_age_s > LIVE_FOR_S else "live"


def poll_in_s(state: Freshness, next_poll_s: float | None, jitter: float) -> float:
    """Return the seconds until the next read: 30 if live, 10 to 15 if aging, 5 if stale, or as the server requests.

    Args:
        state: The freshness of the live events.
        next_poll_s: The interval that the server requests; used if it is longer, up to 30 s.
        jitter: A random number from 0 to 1, to spread the reads of many watchers; adds up to a quarter.
    """
    spread = 1 + jitter / 4
    requested_s = min(next_poll_s or 0.0, MAX_POLL_S) * spread
    if state == "aging":
        return max(MIN_AGING_POLL_S + (MAX_AGING_POLL_S - MIN_AGING_POLL_S) * jitter, requested_s)
    return max((LIVE_POLL_S if state == "live" else STALE_POLL_S) * spread, requested_s)

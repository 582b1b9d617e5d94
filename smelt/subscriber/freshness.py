"""Polling intervals, chosen by the freshness of the live events. Pure functions."""

from typing import Final, Literal

Freshness = Literal["live", "recent", "stale"]

# The first read waits for the join, so that no event is missed between them, but not longer than this.
FIRST_READ_S: Final = 3.0
# Wait before reading to fill a known gap: the missing event may still arrive.
GAP_READ_S: Final = 1.0
LIVE_POLL_S: Final = 30.0
RECENT_POLL_S: Final = 12.0
STALE_POLL_S: Final = 5.0
RECENT_FOR_S: Final = 20.0
MAX_POLL_S: Final = 30.0


def freshness(joined: bool, left_s_ago: float | None) -> Freshness:
    """Return the freshness: `live` while joined, `recent` for 20 s after leaving, then `stale`."""
    if joined:
        return "live"
    return "recent" if left_s_ago is not None and left_s_ago < RECENT_FOR_S else "stale"


def poll_in_s(state: Freshness, next_poll_s: float | None, jitter: float) -> float:
    """Return the seconds until the next read: 30 if live, 12 if recent, 5 if stale, longer if the server requests it.

    Args:
        state: The freshness of the live events.
        next_poll_s: The interval that the server requests; used up to 30 s.
        jitter: A random number from 0 to 1; adds up to a quarter, to spread the reads of many watchers.
    """
    base_s = {"live": LIVE_POLL_S, "recent": RECENT_POLL_S, "stale": STALE_POLL_S}[state]
    requested_s = min(next_poll_s or 0.0, MAX_POLL_S)
    return max(base_s, requested_s) * (1 + jitter / 4)

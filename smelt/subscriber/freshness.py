"""How long to wait before the state of a smelt is read again."""

from typing import Final, Literal

Freshness = Literal["live", "recent", "stale"]

# The first read waits for the channel, so that nothing falls between the two, but not for long.
FIRST_READ_S: Final = 3.0
# What is known to be missing is read soon; a moment later it may have come live after all.
GAP_READ_S: Final = 1.0
LIVE_POLL_S: Final = 30.0
RECENT_POLL_S: Final = 12.0
STALE_POLL_S: Final = 5.0
RECENT_FOR_S: Final = 20.0
MAX_POLL_S: Final = 30.0


def freshness(joined: bool, left_s_ago: float | None) -> Freshness:
    """How far live events can be relied on: `live` while joined, `recent` just after, `stale` if not soon back."""
    if joined:
        return "live"
    return "recent" if left_s_ago is not None and left_s_ago < RECENT_FOR_S else "stale"


def poll_in_s(state: Freshness, next_poll_s: float | None, jitter: float) -> float:
    """Seconds until the next read: 30 while live, 12 just after, 5 when stale; later when the server asks for it.

    `jitter` from 0 to 1 spreads the reads of many watchers over a quarter more.
    """
    base_s = {"live": LIVE_POLL_S, "recent": RECENT_POLL_S, "stale": STALE_POLL_S}[state]
    asked_s = min(next_poll_s or 0.0, MAX_POLL_S)
    return max(base_s, asked_s) * (1 + jitter / 4)

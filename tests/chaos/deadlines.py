"""Deadlines that distinguish a lost event from a busy machine.

A run has no promise about its duration, which grows on a busy machine. Promised is that a watcher gets an end that
exists, and that work continues. Both are observed in the database, and their limits grow with the time that this
process waits for a processor.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from uuid import UUID

from tests.chaos.site import Site

MAX_MISSED_END_S: Final = 120.0
"""The time that a watcher may wait for an end that exists: longer than any outage, backoff and poll."""
MAX_STANDSTILL_S: Final = 120.0
"""The time without a change of any smelt while one has not ended: longer than a lease and the start of a worker."""
MAX_SLOWDOWN: Final = 5.0
INTERVAL_S: Final = 5.0
SCHEDULE: Final = Path("/proc/self/schedstat")
ENDED: Final = """
select id, extract(epoch from clock_timestamp() - completed_at)::float from public.smelts where completed_at is not null
"""
STATE: Final = "select count(*) filter (where completed_at is null), count(*), sum(seq) from public.smelts"

Watched = Mapping[UUID, float]
"""The smelts whose end a watcher waits for, with the time since when."""


class Slowdown:
    """The time that this process has taken since then, divided by the time that it has computed."""

    def __init__(self) -> None:
        self._ran, self._waited = _scheduled()

    @property
    def ratio(self) -> float:
        """At least 1; 1 on systems that do not report it."""
        ran, waited = _scheduled()
        return 1 + (waited - self._waited) / max(1, ran - self._ran)


def scaled(limit_s: float, slowdown: float) -> float:
    """Return a limit of time for a machine that is this much slower, which counts up to a limit of its own."""
    return limit_s * min(slowdown, MAX_SLOWDOWN)


class Standstill:
    """The time for which no smelt has changed while one has not ended."""

    def __init__(self, now_s: float) -> None:
        self._state: tuple[object, ...] = ()
        self._changed_s = now_s

    def lasts_s(self, state: tuple[object, ...], open_count: int, now_s: float) -> float:
        """Return the time, given a state that differs from the last one if a smelt has changed."""
        if state != self._state or not open_count:
            self._state, self._changed_s = state, now_s
        return now_s - self._changed_s


async def observe_deadlines(site: Site, watched: Callable[[], Watched]) -> None:
    """Assert until cancelled that watchers get the ends that are there, and that work goes on."""
    slowdown, standstill = Slowdown(), Standstill(time.monotonic())
    while True:
        await asyncio.sleep(INTERVAL_S)
        ended = dict(await site.database.rows(ENDED))
        missed = missed_ends(watched(), ended, time.monotonic(), scaled(MAX_MISSED_END_S, slowdown.ratio))
        assert not missed, f"watchers wait for smelts that have ended, for so many seconds: {missed}"
        [(open_count, *state)] = await site.database.rows(STATE)
        still_s = standstill.lasts_s(tuple(state), open_count, time.monotonic())
        limit_s = scaled(MAX_STANDSTILL_S, slowdown.ratio)
        assert still_s <= limit_s, f"no smelt has changed for {still_s:.0f} s, and {open_count} have not ended"


def missed_ends(watched: Watched, ended_s: Mapping[UUID, float], now_s: float, limit_s: float) -> dict[UUID, float]:
    """Return the smelts whose end a watcher has missed for longer than the limit, with that time."""
    waits = {smelt_id: min(ended_s.get(smelt_id, 0.0), now_s - since_s) for smelt_id, since_s in watched.items()}
    return {smelt_id: wait_s for smelt_id, wait_s in waits.items() if wait_s > limit_s}


def _scheduled() -> tuple[int, int]:
    """Return for how long this process has run and waited for a processor, in nanoseconds."""
    if not SCHEDULE.exists():
        return 0, 0
    ran, waited, _ = SCHEDULE.read_text().split()
    return int(ran), int(waited)

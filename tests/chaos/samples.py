"""Samples of what a run uses: memory, descriptors, tasks, connections, replication slots and rows."""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

import psutil

from tests.chaos.deadlines import Slowdown
from tests.chaos.site import Site
from tests.harness.processes import process_tree

MIB: Final = 1 << 20
POLL_S: Final = 0.5
RELEASE_TIMEOUT_S: Final = 100.0
OUTBOX_AGE_S: Final = (
    "select coalesce(extract(epoch from max(clock_timestamp() - created_at)), 0)::float from smelt.outbox"
)
DATABASE: Final = """
select 'connections', count(*) from pg_stat_activity
where datname = current_database() and backend_type = 'client backend'
union all select 'slots', count(*) from pg_replication_slots where database = current_database()
union all select 'objects', count(*) from storage.objects
union all select 'leases', count(*) from smelt.leases
"""
TABLES: Final = """
select c.relname, pg_total_relation_size(c.oid)::bigint from pg_class as c
where c.relkind = 'r' and c.relnamespace in ('public'::regnamespace, 'smelt'::regnamespace)
order by 2 desc
"""
# Limits of the difference between the start of the run and the end of a round.
MAX_UNRELEASED: Final[Mapping[str, int]] = {"connections": 16, "slots": 0, "leases": 0}
WARM_UP_ROUNDS: Final = 1

Sample = dict[str, Any]


@dataclass(frozen=True)
class Growth:
    """The limit of a figure's growth: an amount, and a share of its first value."""

    amount: float
    share: float = 0.0


# The number of connections through the proxies varies, and with it tasks and descriptors. Tables and indexes keep the
# space of deleted rows until it is used again.
MAX_GROWTH: Final[Mapping[str, Growth]] = {
    "rss_mib": Growth(24, 0.1),
    "descriptors": Growth(24),
    "tasks": Growth(12),
    "connections": Growth(8),
    "slots": Growth(0),
    "objects": Growth(0),
    "leases": Growth(0),
    "table_kib": Growth(512, 0.3),
}


@dataclass(frozen=True)
class Figure:
    """A figure of the samples between rounds: the medians of the first third of them and of the last."""

    figure: str
    first: float
    last: float
    limit: float

    @property
    def is_flat(self) -> bool:
        """True if it has not grown beyond its limit."""
        return self.last <= self.limit

    def dump(self) -> str:
        """Return the figure as a line of JSON."""
        return json.dumps(asdict(self) | {"is_flat": self.is_flat})


class Sampler:
    """Samples a site repeatedly; `outbox_age_s` is the greatest age of a row of the outbox in the current round."""

    def __init__(self, site: Site, write: Callable[[str], object]) -> None:
        self.outbox_age_s = 0.0
        self._site = site
        self._write = write
        self._started_s = time.monotonic()

    async def run(self, interval_s: float) -> None:
        """Take the samples of a round until cancelled."""
        self.outbox_age_s = 0.0
        slowdown = Slowdown()
        while True:
            await asyncio.sleep(interval_s)
            await self.take("running", slowdown=round(slowdown.ratio, 1))

    async def until_released(self, start: Sample) -> None:
        """Wait until a round has released what it used beyond the start of the run."""
        deadline_s = time.monotonic() + RELEASE_TIMEOUT_S
        while unreleased := {
            name: (start[name], value)
            for name, value in (await self._database()).items()
            if value - start[name] > MAX_UNRELEASED.get(name, value)
        }:
            assert time.monotonic() < deadline_s, unreleased
            await asyncio.sleep(POLL_S)

    async def take(self, moment: str, **more: Any) -> Sample:
        """Take a sample and write it as a line of JSON."""
        database = self._site.database
        [(age_s,)] = await database.rows(OUTBOX_AGE_S)
        self.outbox_age_s = max(self.outbox_age_s, age_s)
        sample = {
            "moment": moment,
            "seconds": round(time.monotonic() - self._started_s, 1),
            **more,
            **_of_processes(self._processes()),
            "tasks": len(asyncio.all_tasks()),
            **await self._database(),
            "outbox_age_s": round(age_s, 1),
            "table_kib": {name: size >> 10 for name, size in await database.rows(TABLES)},
        }
        self._write(json.dumps(sample))
        return sample

    async def _database(self) -> dict[str, int]:
        return dict(await self._site.database.rows(DATABASE))

    def _processes(self) -> dict[str, list[psutil.Process]]:
        """Return the processes by their part; children of workers, which come and go, are not among them."""
        found = {
            "run": [psutil.Process(os.getpid())],
            "gateway": _tree(self._site.gateway.pid),
            "stack": _tree(self._site.stack.state.pid),
        }
        for name in self._site.workers.names:
            worker = self._site.workers.process(name)
            found[f"worker {name}"] = [] if worker is None else [worker]
        return found


def _tree(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return process_tree(pid)
    return []


def _of_processes(parts: Mapping[str, Sequence[psutil.Process]]) -> Sample:
    memory, descriptors = Counter[str](), Counter[str]()
    for part, processes in parts.items():
        for process in processes:
            with suppress(psutil.Error):
                if process.name() == "postgres":  # They share their memory.
                    continue
                memory[part] += process.memory_info().rss // MIB
                descriptors[part] += process.num_fds()
    return {"rss_mib": dict(memory), "descriptors": dict(descriptors)}


def figures(samples: Sequence[Sample]) -> list[Figure]:
    """Return the figures of samples, one after each round; none if there are fewer than three after the warm-up.

    The caches that the first round fills are not growth. A median ignores a worker that has just started, and a server
    that has not yet released something.
    """
    warm = samples[WARM_UP_ROUNDS:]
    third = len(warm) // 3
    if not third:
        return []
    first, last = _medians(warm[:third]), _medians(warm[-third:])
    found = []
    for (name, part), value in last.items():
        before, growth = first.get((name, part), value), MAX_GROWTH[name]
        limit = round(before * (1 + growth.share) + growth.amount, 1)
        found.append(Figure(f"{name} {part}".strip(), before, value, limit))
    return found


def _medians(samples: Sequence[Sample]) -> dict[tuple[str, str], float]:
    values: dict[tuple[str, str], list[float]] = {}
    for sample in samples:
        for name in MAX_GROWTH:
            parts = sample[name] if isinstance(sample[name], dict) else {"": sample[name]}
            for part, value in parts.items():
                values.setdefault((name, part), []).append(value)
    return {key: median(of_key) for key, of_key in values.items()}

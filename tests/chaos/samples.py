"""Samples of what a run uses: memory, descriptors, tasks, connections, replication slots and rows."""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import psutil

from tests.chaos.site import Site
from tests.harness.processes import process_tree

MIB: Final = 1 << 20
OUTBOX_AGE_S: Final = (
    "select coalesce(extract(epoch from max(clock_timestamp() - created_at)), 0)::float from smelt.outbox"
)
DATABASE: Final = """
select
    (select count(*) from pg_stat_activity where datname = current_database() and backend_type = 'client backend'),
    (select count(*) from pg_replication_slots where database = current_database()),
    (select count(*) from storage.objects),
    (select count(*) from smelt.leases)
"""
TABLES: Final = """
select c.relname, pg_total_relation_size(c.oid)::bigint from pg_class as c
where c.relkind = 'r' and c.relnamespace in ('public'::regnamespace, 'smelt'::regnamespace)
order by 2 desc limit 8
"""
# Limits of the growth from the first round to the last one, and from the start to the end of a round.
MAX_GROWTH: Final[Mapping[str, int]] = {"rss_mib": 64, "descriptors": 24, "tasks": 4, "objects": 0}
MAX_UNRELEASED: Final[Mapping[str, int]] = {"connections": 16, "slots": 0, "leases": 0}

Sample = dict[str, Any]


class Sampler:
    """Samples a site repeatedly; `outbox_age_s` is the greatest age of a row of the outbox so far."""

    def __init__(self, site: Site, write: Callable[[str], object]) -> None:
        self.outbox_age_s = 0.0
        self._site = site
        self._write = write
        self._started_s = time.monotonic()

    async def run(self, interval_s: float) -> None:
        """Take samples until cancelled."""
        while True:
            await self.take("running")
            await asyncio.sleep(interval_s)

    async def take(self, moment: str) -> Sample:
        """Take a sample and write it as a line of JSON."""
        database = self._site.database
        [(age_s,)] = await database.rows(OUTBOX_AGE_S)
        self.outbox_age_s = max(self.outbox_age_s, age_s)
        [(connections, slots, objects, leases)] = await database.rows(DATABASE)
        sample = {
            "moment": moment,
            "seconds": round(time.monotonic() - self._started_s, 1),
            **_of_processes(self._processes()),
            "tasks": len(asyncio.all_tasks()),
            "connections": connections,
            "slots": slots,
            "objects": objects,
            "leases": leases,
            "outbox_age_s": round(age_s, 1),
            "table_kib": {name: size >> 10 for name, size in await database.rows(TABLES)},
        }
        self._write(json.dumps(sample))
        return sample

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


def assert_flat(first: Sample, last: Sample) -> None:
    """Assert that memory, descriptors, tasks and objects did not grow between the ends of two rounds."""
    _assert_growth(MAX_GROWTH, first, last)


def assert_released(before: Sample, after: Sample) -> None:
    """Assert that the connections, slots and leases of a round are released."""
    _assert_growth(MAX_UNRELEASED, before, after)


def _assert_growth(limits: Mapping[str, int], before: Sample, after: Sample) -> None:
    grown = {}
    for name, limit in limits.items():
        for part, value in _parts(after[name]).items():
            known = _parts(before[name]).get(part)
            if known is not None and value - known > limit:
                grown[f"{name} {part}"] = (known, value)
    assert not grown, grown


def _parts(value: Any) -> dict[str, float]:
    return value if isinstance(value, dict) else {"": value}

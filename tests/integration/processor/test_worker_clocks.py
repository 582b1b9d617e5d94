"""A worker's clock decides nothing: leases, tries and queues go by the database's."""

import asyncio
import json
import signal
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from bench import STANDUP, WorkerProcess, customer, eventually
from stacks import Stack

HOUR_S = 3600
# Python imports this by itself, before anything can have read the clock.
SKEW = """
import time
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + {skew_s}
time.time_ns = lambda: _time_ns() + {skew_s} * 10**9
"""


def skewed(project: Stack, folder: Path, skew_s: int) -> WorkerProcess:
    """A worker whose clock is off by so many seconds."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(SKEW.format(skew_s=skew_s))
    return WorkerProcess(
        project, folder, PYTHONPATH=str(folder), SMELT_CONCURRENCY="1", SMELT_LEASE_S="10", SMELT_LOG_FORMAT="json"
    )


async def test_workers_whose_clocks_are_hours_apart_share_the_work(project: Stack, tmp_path: Path) -> None:
    with ExitStack() as stack:
        workers = {skew_s: skewed(project, tmp_path / str(skew_s), skew_s) for skew_s in (-HOUR_S, HOUR_S)}
        for worker in workers.values():
            stack.callback(worker.close)
        for worker in workers.values():
            await eventually(lambda worker=worker: "joined channel smelt-workers" in worker.log.read_text())
        async with customer(project) as app:
            smelts = [await app.create(STANDUP) for _ in workers]
            for created in smelts:
                await app.calls.submit_smelt(created.id)
            states = await asyncio.gather(*(app.ended(created.id) for created in smelts))
        for skew_s, worker in workers.items():
            worker.end(signal.SIGTERM)
            assert await worker.exit_code() == 0
            said = worker.log.read_text()
            assert "claimed, run 1" in said
            logged_at = datetime.fromisoformat(json.loads(said.splitlines()[-1])["time"])
            assert abs(logged_at.timestamp() - time.time() - skew_s) < HOUR_S / 2, "its clock is off"
    assert [(state.status, state.attempt) for state in states] == [("completed", 1)] * len(workers)

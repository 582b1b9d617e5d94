"""A worker's clock decides nothing: leases, retries and queues use the database's clock."""

import json
import signal
import time
from datetime import datetime
from pathlib import Path

from tests.harness.stacks import Stack
from tests.harness.worker_harness import STANDUP, WorkerProcess, app_client

HOUR_S = 3600
AN_HOUR_AHEAD = f"""
import time
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + {HOUR_S}
time.time_ns = lambda: _time_ns() + {HOUR_S} * 10**9
"""


async def test_clock_of_a_worker_an_hour_ahead_has_no_effect(project: Stack, tmp_path: Path) -> None:
    worker = WorkerProcess(project, tmp_path, before=AN_HOUR_AHEAD, SMELT_LOG_FORMAT="json")
    try:
        async with app_client(project) as app:
            created = await app.create(STANDUP)
            await app.calls.submit_smelt(created.id)
            state = await app.ended(created.id)
        worker.end(signal.SIGTERM)
        assert await worker.exit_code() == 0
        last = json.loads(worker.log.read_text().splitlines()[-1])
    finally:
        worker.close()
    assert datetime.fromisoformat(last["time"]).timestamp() - time.time() > HOUR_S / 2, "its clock is not ahead"
    assert (state.status, state.attempt) == ("completed", 1)

"""Measure how late a worker renews its leases while its model works.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive \\
        .venv/bin/python scripts/bench/renewals.py --model FOLDER --compute-type int8 --recording FILE [--interval 0.5]

A renewal is late by the time from the moment at which the oldest lease is due until the request is sent. A lease that a
report has renewed is due later. The reference is the lateness of a process beside it that does nothing but sleep for
the same time. An interval shorter than that of a worker, 2 s, gives more renewals.
"""

import argparse
import asyncio
import json
import math
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from bench_common import print_figure, recording, signed_in

from smelt.backend.project import Project
from smelt.local import LocalStack
from smelt.processor import leases
from smelt.processor.leases import Leases
from smelt.processor.options import WorkerOptions
from smelt.processor.worker import Worker

PROMISED_S: Final = 0.25
MIN_RENEWALS: Final = 20
SLEEPER: Final = """
import asyncio, sys, time
async def main(seconds):
    while True:
        due_s = time.monotonic() + seconds
        await asyncio.sleep(seconds)
        print(time.monotonic() - due_s, flush=True)
asyncio.run(main(float(sys.argv[1])))
"""


def measure_renewals(interval_s: float) -> list[float]:
    """Let all workers of this process renew at this interval; return the list that gets the lateness of each."""
    lateness_s: list[float] = []
    renew_due = Leases.renew_due

    async def measured_renew_due(self: Leases) -> None:
        now_s = time.monotonic()
        renewed_s = min((entry.renewed_s for entry in self._entries.values()), default=now_s)
        if (late_s := now_s - max(renewed_s, self._failed_s) - interval_s) >= 0:
            lateness_s.append(late_s)
        await renew_due(self)

    setattr(leases, "_RENEW_INTERVAL_S", interval_s)  # noqa: B010 - A constant.
    setattr(Leases, "renew_due", measured_renew_due)  # noqa: B010 - A method.
    return lateness_s


@asynccontextmanager
async def sleeping(interval_s: float) -> AsyncIterator[list[float]]:
    """Run the reference; at the end of the block, the list gets the lateness of each of its pauses."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SLEEPER, str(interval_s)), stdout=asyncio.subprocess.PIPE
    )
    lateness_s: list[float] = []
    try:
        yield lateness_s
    finally:
        process.kill()
        output, _ = await process.communicate()
        lateness_s += [float(line) for line in output.split()]


async def main(arguments: argparse.Namespace) -> None:
    """Transcribe one recording."""
    lateness_s = measure_renewals(arguments.interval)
    with tempfile.TemporaryDirectory(prefix="smelt-bench-") as name:
        folder = Path(name)
        file = arguments.recording or recording(folder / "speech.wav", 300)
        options: dict[str, Any] = {"model": arguments.model, "compute_type": arguments.compute_type}
        async with LocalStack() as stack, signed_in(stack) as client:
            created = await client.create(files=[file])
            async with Project(stack.api_url, stack.service_role_key) as project:
                worker = Worker(project, WorkerOptions(worker_id="bench", temp_dir=folder, **options))
                async with sleeping(arguments.interval) as reference_s:
                    await worker.run(once=True, stop=asyncio.Event())
            state = await client.get(created.id)
    print(json.dumps({"status": state.status, "audio_s": state.files[0].duration_seconds}), flush=True)
    report(lateness_s, reference_s)


def report(lateness_s: list[float], reference_s: list[float]) -> None:
    """Print percentiles of both, and the share of late renewals."""
    assert len(lateness_s) >= MIN_RENEWALS, f"only {len(lateness_s)} renewals were measured"
    for percent in (50, 99, 100):
        print_figure(
            f"lateness of a renewal, p{percent}",
            percentile(lateness_s, percent) * 1000,
            "milliseconds",
            reference="a process that only sleeps",
            reference_value=round(percentile(reference_s, percent) * 1000, 3),
            renewals=len(lateness_s),
        )
    late = sum(late_s > PROMISED_S for late_s in lateness_s) / len(lateness_s)
    print_figure("renewals that are over 250 ms late", 100 * late, "percent", reference="promised", reference_value=1.0)


def percentile(values: list[float], percent: int) -> float:
    """Return the smallest value that so many percent of all do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--compute-type", default="default")
    parser.add_argument("--recording", type=Path)
    parser.add_argument("--interval", type=float, default=2.0)
    asyncio.run(main(parser.parse_args()))

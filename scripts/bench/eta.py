"""Measure the error of the ETA at 25, 50 and 75 % of a recording: alone, and with two more in the queue.

    python scripts/bench/eta.py [--minutes 10]
    SMELT_MODEL=FOLDER SMELT_COMPUTE_TYPE=int8 python scripts/bench/eta.py --file RECORDING [--busy]

The error of the ETA that a watcher has at that moment is a share of the time that it really took from then on; the
documented limit is 15 %. With `--busy`, another process begins to use a processor in the middle, and the limit is 30 %.
Without a file, it is the demo recording, repeated. `cores_before` and `cores_after` are the CPU cores that the worker
used before and after that moment: if they differ, something else was running, which no estimate can predict.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import psutil
from bench_common import cpu_s, print_figure, recording, running_worker, signed_in

import smelt
from smelt.contract.vocabulary import PERCENT_RANGES
from smelt.local import LocalStack

SHARES = (0.25, 0.5, 0.75)
PROMISED = 0.15
PROMISED_BUSY = 0.3


@dataclass(frozen=True)
class Estimate:
    """A progress update that a watcher received, and the CPU time of the worker until then."""

    percentage: float
    eta_s: float
    at_s: float
    computed_s: float


async def main(options: argparse.Namespace) -> None:
    """Measure one recording alone on a warm worker, then three at once; or one beside another process."""
    with tempfile.TemporaryDirectory(prefix="smelt-bench-") as name:
        folder = Path(name)
        file = options.file or recording(folder / "speech.wav", options.minutes * 60)
        async with LocalStack() as stack, signed_in(stack) as client, running_worker(stack, folder) as worker:
            # The first one includes the measurement of threads, and warming up.
            await client.wait((await client.create(files=[recording(folder / "first.wav", 60)])).id)
            for others in (0,) if options.busy else (0, 2):
                created = [await client.create(files=[file], submit=False) for _ in range(others + 1)]
                watched = [asyncio.create_task(estimates(client, one.id, worker, options)) for one in created]
                for one in created:
                    await client.submit(one.id)
                for place, found in enumerate(await asyncio.gather(*watched)):
                    report(others, place, found, is_busy=options.busy)


async def estimates(
    client: smelt.Client, smelt_id: UUID, worker: psutil.Process, options: argparse.Namespace
) -> list[Estimate]:
    """Return every estimate that a watcher received during transcription, and the end."""
    low, high = PERCENT_RANGES["transcribing"]
    received: list[Estimate] = []
    other: asyncio.subprocess.Process | None = None
    try:
        async for update in client.watch(smelt_id):
            if isinstance(update, smelt.Progress) and update.percentage > low:
                received.append(Estimate(update.percentage, update.eta_seconds or 0.0, time.monotonic(), cpu_s(worker)))
                if options.busy and other is None and update.percentage >= (low + high) / 2:
                    other = await asyncio.create_subprocess_exec(sys.executable, "-c", "while True: pass")
    finally:
        if other is not None:
            other.kill()
            await other.wait()
    return [*received, Estimate(100.0, 0.0, time.monotonic(), cpu_s(worker))]


def report(others: int, place: int, estimates_received: list[Estimate], *, is_busy: bool) -> None:
    """Print the error at each share of the recording."""
    low, high = PERCENT_RANGES["transcribing"]
    first, end = estimates_received[0], estimates_received[-1]
    for share in SHARES:
        now = next(estimate for estimate in estimates_received if estimate.percentage >= low + (high - low) * share)
        took_s = end.at_s - now.at_s
        print_figure(
            f"error of the time remaining at {share:.0%}, {others} others, number {place + 1}{', busy' * is_busy}",
            abs(now.eta_s - took_s) / took_s,
            "share",
            reference="promised",
            reference_value=PROMISED_BUSY if is_busy else PROMISED,
            eta_s=round(now.eta_s, 1),
            took_s=round(took_s, 1),
            cores_before=round((now.computed_s - first.computed_s) / (now.at_s - first.at_s), 2),
            cores_after=round((end.computed_s - now.computed_s) / took_s, 2),
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--busy", action="store_true")
    asyncio.run(main(parser.parse_args()))

"""Measure how soon after a cancel a watcher is notified, and how soon the worker's model stops.

    python scripts/bench/cancel.py [--rounds 10]

The documented limits are 0.5 seconds for a watcher, and 2.5 seconds plus one window for the model. The model counts as
stopped once the worker and its children use no more CPU time than idle ones.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from uuid import UUID

import psutil
from bench_common import idle_since, print_figure, recording, running_worker, signed_in

import smelt
from smelt.local import LocalStack

MINUTES = 5.0


async def main(rounds: int) -> None:
    """Cancel one smelt after another during its transcription."""
    with tempfile.TemporaryDirectory(prefix="smelt-bench-") as name:
        folder = Path(name)
        file = recording(folder / "speech.wav", MINUTES * 60)
        async with (
            LocalStack() as stack,
            signed_in(stack) as client,
            running_worker(stack, folder, SMELT_CONCURRENCY="1") as worker,
        ):
            times = [await cancelled(client, file, worker) for _ in range(rounds)]
    failed, stopped = zip(*times, strict=True)
    report("a watcher is notified of a cancel", failed, 0.5)
    report("the model stops after a cancel", stopped, 2.5)


async def cancelled(client: smelt.Client, file: Path, worker: psutil.Process) -> tuple[float, float]:
    """Return the seconds from a cancel until a watcher was notified, and until the worker was idle."""
    created = await client.create(files=[file])
    await until_transcribing(client, created.id)
    watching = asyncio.create_task(failed_at(client, created.id))
    # A random moment between two segments.
    await asyncio.sleep(1 + random.random())
    began_s = time.monotonic()
    await client.cancel(created.id)
    failed_s, stopped_s = await asyncio.gather(watching, idle_since(worker))
    return failed_s - began_s, max(0.0, stopped_s - began_s)


async def until_transcribing(client: smelt.Client, smelt_id: UUID) -> None:
    """Wait for the first segment."""
    async with aclosing(client.watch(smelt_id)) as updates:
        async for update in updates:
            if isinstance(update, smelt.Segments):
                return


async def failed_at(client: smelt.Client, smelt_id: UUID) -> float:
    """Return the time at which a watcher received `Failed`."""
    async for update in client.watch(smelt_id):
        if isinstance(update, smelt.Failed):
            return time.monotonic()
    raise SystemExit("the watch ended without a terminal update")


def report(what: str, seconds: Sequence[float], promised_s: float) -> None:
    """Print the median and the maximum."""
    for which, value in (("p50", statistics.median(seconds)), ("max", max(seconds))):
        print_figure(
            f"{what}, {which}", value, "seconds", reference="promised", reference_value=promised_s, rounds=len(seconds)
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    asyncio.run(main(parser.parse_args().rounds))

"""How soon after a cancel a watcher hears of it, and how soon the worker's model stands still.

    python scripts/bench/cancel.py [--rounds 10]

Promised are half a second to a watcher, and to the model 2.5 seconds and one of its windows. The model stands still
when its process takes no more of the processors than an idle one.
"""

import argparse
import asyncio
import random
import signal
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from uuid import UUID

import psutil
from stage import recording, signed_in, start_worker, tell

import smelt
from smelt.local import LocalStack

MINUTES = 5.0
# A shorter look than this sees one tick of the process's time or none; a pause between two segments is no end.
LOOK_S = 0.05
LOOKS = 6
IDLE_SHARE = 0.1


async def main(rounds: int) -> None:
    """Cancel one smelt after the other in the middle of its transcription."""
    with tempfile.TemporaryDirectory(prefix="smelt-bench-") as name:
        folder = Path(name)
        file = recording(folder / "speech.wav", MINUTES * 60)
        async with LocalStack() as stack, signed_in(stack) as client:
            worker = start_worker(stack, folder, SMELT_CONCURRENCY="1")
            try:
                times = [await cancelled(client, file, psutil.Process(worker.pid)) for _ in range(rounds)]
            finally:
                worker.send_signal(signal.SIGTERM)
                await asyncio.to_thread(worker.wait)
    heard, stopped = zip(*times, strict=True)
    report("a watcher hears of a cancel", heard, 0.5)
    report("the model stands still after a cancel", stopped, 2.5)


async def cancelled(client: smelt.Client, file: Path, worker: psutil.Process) -> tuple[float, float]:
    """Seconds from a cancel until a watcher has heard of it, and until the worker stood still."""
    created = await client.create(files=[file])
    await until_transcribing(client, created.id)
    watching = asyncio.create_task(failed_at(client, created.id))
    # Anywhere between two segments.
    await asyncio.sleep(1 + random.random())
    began_s = time.monotonic()
    await client.cancel(created.id)
    heard_s, stopped_s = await asyncio.gather(watching, idle_at(worker))
    return heard_s - began_s, max(0.0, stopped_s - began_s)


async def until_transcribing(client: smelt.Client, smelt_id: UUID) -> None:
    """Wait for the first words."""
    async with aclosing(client.watch(smelt_id)) as updates:
        async for update in updates:
            if isinstance(update, smelt.Segments):
                return


async def failed_at(client: smelt.Client, smelt_id: UUID) -> float:
    """When a watcher was told of the end."""
    async for update in client.watch(smelt_id):
        if isinstance(update, smelt.Failed):
            return time.monotonic()
    raise SystemExit("the watch ended without an end")


async def idle_at(worker: psutil.Process) -> float:
    """When the worker began to take next to nothing of the processors."""
    idle_since_s, looks = time.monotonic(), 0
    while looks < LOOKS:
        before_s, used_s = time.monotonic(), busy_s(worker)
        await asyncio.sleep(LOOK_S)
        if busy_s(worker) - used_s > IDLE_SHARE * (time.monotonic() - before_s):
            idle_since_s, looks = time.monotonic(), 0
        else:
            looks += 1
    return idle_since_s


def busy_s(worker: psutil.Process) -> float:
    """Seconds of the processors that it has had."""
    times = worker.cpu_times()
    return float(times.user + times.system)


def report(what: str, seconds: Sequence[float], promised_s: float) -> None:
    """Tell the middle and the worst."""
    for which, value in (("p50", statistics.median(seconds)), ("max", max(seconds))):
        tell(
            f"{what}, {which}", value, "seconds", reference="promised", reference_value=promised_s, rounds=len(seconds)
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    asyncio.run(main(parser.parse_args().rounds))

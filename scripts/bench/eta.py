"""How far the time remaining is off, at 25, 50 and 75 % of a recording of 10 minutes: alone, and with two behind it.

    python scripts/bench/eta.py [--minutes 10]

The error is that of the estimate which a watcher has at that moment, as a share of the time that it really took from
then on; promised is less than 20 %.
"""

import argparse
import asyncio
import signal
import tempfile
import time
from pathlib import Path
from uuid import UUID

from stage import recording, signed_in, start_worker, tell

import smelt
from smelt.contract.vocabulary import PERCENT_RANGES
from smelt.local import LocalStack

SHARES = (0.25, 0.5, 0.75)
PROMISED = 0.2

Estimates = list[tuple[float, float, float]]


async def main(minutes: float) -> None:
    """One recording alone on a warm worker, then three at once."""
    with tempfile.TemporaryDirectory(prefix="smelt-bench-") as name:
        folder = Path(name)
        file = recording(folder / "speech.wav", minutes * 60)
        async with LocalStack() as stack, signed_in(stack) as client:
            worker = start_worker(stack, folder)
            try:
                for others in (0, 2):
                    created = [await client.create(files=[file], submit=False) for _ in range(others + 1)]
                    watched = [asyncio.create_task(estimates(client, one.id)) for one in created]
                    for one in created:
                        await client.submit(one.id)
                    for place, found in enumerate(await asyncio.gather(*watched)):
                        report(others, place, found)
            finally:
                worker.send_signal(signal.SIGTERM)
                await asyncio.to_thread(worker.wait)


async def estimates(client: smelt.Client, smelt_id: UUID) -> Estimates:
    """Every estimate that a watcher was given: percentage, seconds promised, seconds it took."""
    told = [
        (update.percentage, update.eta_seconds, time.monotonic())
        async for update in client.watch(smelt_id)
        if isinstance(update, smelt.Progress) and update.eta_seconds is not None
    ]
    ended_s = time.monotonic()
    return [(percentage, eta_s, ended_s - at_s) for percentage, eta_s, at_s in told]


def report(others: int, place: int, found: Estimates) -> None:
    """Tell the error at each share of the recording."""
    low, high = PERCENT_RANGES["transcribing"]
    for share in SHARES:
        reached = [estimate for estimate in found if estimate[0] >= low + (high - low) * share]
        _, eta_s, took_s = reached[0]
        tell(
            f"error of the time remaining at {share:.0%}, {others} others, number {place + 1}",
            abs(eta_s - took_s) / took_s,
            "share",
            reference="promised",
            reference_value=PROMISED,
            eta_s=round(eta_s, 1),
            took_s=round(took_s, 1),
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    asyncio.run(main(parser.parse_args().minutes))

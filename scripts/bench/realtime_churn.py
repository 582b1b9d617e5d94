"""Measure losses and leaks of the embedded Realtime while two dozen clients come and go under faults for a minute.

Prints one line of JSON for each figure: acknowledged messages; deliveries that were due, lost and doubled; the number
of faults of each kind; and the resources that the server still holds when all clients are gone. `--seconds` sets the
length.
"""

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from pathlib import Path

from bench_common import print_figure

from tests.integration.local.realtime.churn import Record, churn
from tests.integration.local.realtime.realtime_server import FIXTURES, start_postgres
from tests.integration.local.realtime.server_process import running_in_process

CLIENTS, ROUNDS, MESSAGES = 24, 2, 6
SETTLE_TIMEOUT_S = 30


def main() -> None:
    """Run against a server and a database of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    with tempfile.TemporaryDirectory(prefix="smelt-churn-") as folder:
        asyncio.run(run(Path(folder), parser.parse_args().seconds))


async def run(folder: Path, seconds: float) -> None:
    """Repeat laps of churn until the time is over, then compare the resources that are still held."""
    postgres = await start_postgres(folder)
    try:
        async with running_in_process(postgres, max_events_per_s=None, max_joins_per_s=None) as (server, process):
            await server.sql(FIXTURES.read_text())
            before = {**await process.inspect(), "lent": 0}
            faults, lap_kb, totals = Counter[str](), [], Counter[str]()
            ends_at = time.monotonic() + seconds
            while time.monotonic() < ends_at:
                record, lap_faults = await churn(server, process, clients=CLIENTS, rounds=ROUNDS, messages=MESSAGES)
                faults += lap_faults
                totals += counted(record)
                lap_kb.append((await process.inspect())["resident_kb"])
            after = await settled(process, before)
    finally:
        await postgres.stop()
    left = {name: after[name] - value for name, value in before.items() if name != "resident_kb"}
    for figure, value, reference, reference_value in (
        ("lost messages", totals["lost"], "promised", 0),
        ("doubled messages", totals["doubled"], "promised", 0),
        ("deliveries", totals["due"], "acknowledged messages", totals["acknowledged"]),
        ("resources still held", sum(left.values()), "promised", 0),
    ):
        print_figure(
            f"realtime churn, {figure}", value, "count", reference=reference, reference_value=reference_value,
            seconds=seconds,
        )  # fmt: skip
    print_figure(
        "realtime churn, resident memory", lap_kb[-1], "KB", reference="after the first lap", reference_value=lap_kb[0],
        faults=faults, still_held=left,
    )  # fmt: skip


def counted(record: Record) -> Counter[str]:
    """Return the counts of one lap."""
    return Counter(
        acknowledged=len(record.sent),
        due=len(record.expected_deliveries()),
        lost=len(record.lost()),
        doubled=len(record.duplicates()),
    )


async def settled(process, before) -> dict[str, int]:
    """Return the resources that are held once they equal `before`, or after a timeout."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while True:
        after = await process.inspect()
        if {**after, "resident_kb": 0} == {**before, "resident_kb": 0} or time.monotonic() > deadline:
            return after
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    main()

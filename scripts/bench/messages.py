"""Count the calls and broadcasts of one smelt, and measure how soon an idle worker completes a short one.

    python scripts/bench/messages.py [--texts 50] [--clips 10] [--counted 3]

Counted are smelts of 65 seconds of speech and of a text, one after another, with one idle worker and the demo model:
calls of SQL functions, and broadcasts of the worker and of the database. Heartbeats and periodic sweeps of the outbox
are counted apart, since they depend on time only.
"""

import argparse
import asyncio
import math
import statistics
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager
from datetime import UTC
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import uuid4

import psycopg
from bench_common import print_figure, recording, signed_in

import smelt
from smelt.backend.project import Project
from smelt.backend.rpc import Rpc
from smelt.contract.state import Created
from smelt.local import LocalStack
from smelt.processor.broadcasts import Announcer
from smelt.processor.worker import Worker, WorkerOptions

AUDIO_S, CLIP_S = 65.0, 5.0
# The limits, by kind of smelt.
MAX_CALLS = {"text": 6, "audio of 65 s": 14}
MAX_BROADCASTS = {"text": 4, "audio of 65 s": 10}
MAX_TEXT_S = 0.08
TEXT = "We meet on Monday at nine. Anna sends the budget. Ben books the room for twenty people."
# After the end of a smelt, its worker settles the outbox and removes the audio.
AFTERMATH_S = 2.5
# Smelts before the first measurement.
WARM_UP_COUNT = 3


class MessageCounter:
    """Counts what the worker in this process calls and broadcasts, and what the database broadcasts."""

    def __init__(self, db_url: str) -> None:
        self.calls: Counter[str] = Counter()
        self.periodic: Counter[str] = Counter()
        self.broadcasts: Counter[str] = Counter()
        self._db_url = db_url

    @asynccontextmanager
    async def counting(self, project: Project) -> AsyncIterator[None]:
        """Count within the block; `project` is that of the worker."""
        call_once, broadcast = Rpc.call_once, Announcer.broadcast

        async def counted_call(rpc: Rpc, function: str, /, **arguments: object) -> object:
            if rpc is project.rpc:
                is_sweep = function == "claim_smelt_outbox" and arguments.get("smelt_id") is None
                periodic = is_sweep or function == "heartbeat_smelt_worker"
                (self.periodic if periodic else self.calls)[function] += 1
            return await call_once(rpc, function, **arguments)

        async def counted_broadcast(announcer: Announcer, topic: str, event: str, *more: Any) -> bool:
            self.broadcasts[event] += 1
            return await broadcast(announcer, topic, event, *more)

        with ExitStack() as patches, psycopg.connect(self._db_url, autocommit=True) as database:
            patches.enter_context(mock.patch.object(Rpc, "call_once", counted_call))
            patches.enter_context(mock.patch.object(Announcer, "broadcast", counted_broadcast))
            began_at = database.execute("select clock_timestamp()").fetchall()[0][0]
            yield
            sent = "select event, count(*) from realtime.messages where inserted_at >= %s::timestamp group by event"
            # `inserted_at` has no time zone, and is UTC.
            for event, count in database.execute(sent, [began_at.astimezone(UTC).replace(tzinfo=None)]).fetchall():
                self.broadcasts[f"{event} (database)"] += count


async def main(texts: int, clips: int, counted: int) -> None:
    """Run a worker; count, then measure."""
    with tempfile.TemporaryDirectory(prefix="smelt-bench-") as name:
        folder = Path(name)
        audio = recording(folder / "audio.wav", AUDIO_S)
        clip = recording(folder / "clip.wav", CLIP_S)
        async with LocalStack() as stack, signed_in(stack) as client, worker_of(stack, folder) as project:
            for _ in range(WARM_UP_COUNT):
                await completed(client, await client.create(text=TEXT))
            await completed(client, await client.create(files=[clip]))
            await asyncio.sleep(AFTERMATH_S)
            for kind, source in (("text", {"text": TEXT}), ("audio of 65 s", {"files": [audio]})):
                await count(stack, client, project, kind, source, counted)
            text_s = await seconds_of(client, {"text": TEXT}, texts)
            report_seconds("text", text_s, "promised for p90", MAX_TEXT_S)
            clip_s = await seconds_of(client, {"files": [clip]}, clips)
            report_seconds("clip of 5 s", clip_s, "p50 of a text", round(statistics.median(text_s), 3))


@asynccontextmanager
async def worker_of(stack: LocalStack, folder: Path) -> AsyncIterator[Project]:
    """Run a worker in this process; yield its project."""
    stop = asyncio.Event()
    async with Project(stack.api_url, stack.service_role_key) as project:
        options = WorkerOptions(worker_id=f"bench-{uuid4().hex[:6]}", temp_dir=folder)
        working = asyncio.create_task(Worker(project, options).run(stop=stop))
        try:
            yield project
        finally:
            stop.set()
            await working


async def count(
    stack: LocalStack, client: smelt.Client, project: Project, kind: str, source: dict[str, Any], rounds: int
) -> None:
    """Print the calls and broadcasts of a smelt, as means over the rounds."""
    counter = MessageCounter(stack.db_url)
    for _ in range(rounds):
        async with counter.counting(project):
            await completed(client, await client.create(**source))
            await asyncio.sleep(AFTERMATH_S)
    for what, counts, bar in (
        ("calls", counter.calls, MAX_CALLS),
        ("broadcasts", counter.broadcasts, MAX_BROADCASTS),
    ):
        print_figure(
            f"{what} for a {kind}", counts.total() / rounds, "count", reference="promised", reference_value=bar[kind],
            by_name={name: round(number / rounds, 1) for name, number in sorted(counts.items())},
            periodic={name: round(number / rounds, 1) for name, number in counter.periodic.items()},
        )  # fmt: skip


async def completed(client: smelt.Client, created: Created) -> None:
    """Wait for the end of a smelt."""
    async with aclosing(client.watch(created.id)) as updates:
        async for update in updates:
            if isinstance(update, smelt.Completed):
                return
    raise SystemExit("the smelt did not complete")


async def seconds_of(client: smelt.Client, source: dict[str, Any], rounds: int) -> list[float]:
    """Return the seconds from the submission to the end in the database."""
    times = []
    for _ in range(rounds):
        created = await client.create(**source)
        await completed(client, created)
        state = await client.get(created.id)
        assert state.submitted_at is not None
        assert state.completed_at is not None
        times.append((state.completed_at - state.submitted_at).total_seconds())
        # Longer than the interval between two wake-ups.
        await asyncio.sleep(1.1)
    return times


def report_seconds(kind: str, times: Sequence[float], reference: str, reference_s: float) -> None:
    """Print median, 90th percentile and maximum."""
    for which, value in (("p50", statistics.median(times)), ("p90", percentile(times, 0.9)), ("max", max(times))):
        print_figure(
            f"submission to end of a {kind}, {which}", value, "seconds",
            reference=reference, reference_value=reference_s, rounds=len(times),
        )  # fmt: skip


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that this share of the values does not exceed."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=50)
    parser.add_argument("--clips", type=int, default=10)
    parser.add_argument("--counted", type=int, default=3)
    given = parser.parse_args()
    asyncio.run(main(given.texts, given.clips, given.counted))

"""Measure the queue in SQL: its speed beside PgQueuer and procrastinate, and what a call costs in a long queue.

    python scripts/bench/job_queue.py [--only compare growth batches polling] [--sizes 100,1000,10000,100000]
        [--migrations DIR]

Everything runs on one embedded Postgres. The parts:

- compare: jobs a second of each queue, in interleaved rounds; empty jobs, one process, Python clients;
- growth: the median of each call in a queue of each size, with 100,000 finished smelts and 200 users;
- batches: creating and completing a smelt of a batch with many members;
- polling: 300 visitors that poll every 5 seconds, with and without 10,000 more smelts in the queue.

The names of files here must not be those of standard modules (`queue`): this folder is on the path of its programs.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from uuid import UUID

import httpx
from bench_common import print_figure
from queue_rows import Rows
from queue_systems import (
    PgQueuer,
    Procrastinate,
    SmeltSql,
    System,
    all_systems,
    connect,
    install_peers,
    peer_versions,
    postgres_version,
)

from smelt.local import LocalStack
from smelt.settings import LocalSettings

MAX_RATIO, MAX_DIFFERENCE_MS = 2.0, 3.0
SIZES = (100, 1_000, 10_000, 100_000)
FINISHED, USERS = 100_000, 200
# After a round of a stack, its Realtime still reads what the round wrote.
WARM_UP, GROWTH_ROUNDS, SETTLE_S = 2, 11, 0.2
COMPARE_ROUNDS, COMPARE_JOBS = 5, 300
MEMBERS, BATCH_ROUNDS = (0, 1_000, 10_000, 50_000), 11
VISITORS, POLL_INTERVAL_S, POLL_WINDOW_S, POLL_ROUNDS, POLL_QUEUE = 300, 5.0, 10.0, 2, 10_000
# The size at which a claim of ten smelts is compared with ten jobs fetched by procrastinate.
CLAIM_SIZE = 10_000

Times = dict[str, list[float]]


@dataclass(frozen=True)
class Bench:
    """A running stack with users, and its tables."""

    stack: LocalStack
    rows: Rows
    users: list[UUID]


async def main(parts: list[str], sizes: list[int], migrations: Path | None) -> None:
    """Run these parts, each on new stacks."""
    versions = peer_versions() if {"compare", "growth"} & set(parts) else {}
    async with started(migrations) as bench:
        await print_machine(bench.stack, versions)
    for part in parts:
        if part == "growth":
            await growth(migrations, sizes)
            continue
        async with started(migrations) as bench:
            await {"compare": compare, "batches": batches, "polling": polling}[part](bench)


@asynccontextmanager
async def started(migrations: Path | None) -> AsyncIterator[Bench]:
    """Run a stack."""
    async with (
        LocalStack(migrations=migrations, postgrest=LocalSettings.read().postgrest) as stack,
        await connect(stack) as database,
    ):
        rows = Rows(database)
        await rows.lift_limits()
        yield Bench(stack, rows, await rows.add_users(USERS))


async def print_machine(stack: LocalStack, versions: dict[str, str]) -> None:
    """Print where this runs."""
    line = {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "python": platform.python_version()}
    print(json.dumps({**line, "postgres": await postgres_version(stack), **versions}), flush=True)


async def timed(call: Awaitable[Any]) -> tuple[Any, float]:
    """Return the result of a call and its time in milliseconds."""
    began_s = time.perf_counter()
    result = await call
    return result, (time.perf_counter() - began_s) * 1000


def spread(values: list[float]) -> list[float]:
    """Return the lowest and the highest value."""
    return [round(min(values), 2), round(max(values), 2)]


async def compare(bench: Bench) -> None:
    """Print jobs a second of each system, in rounds that alternate between them."""
    await install_peers(bench.stack)
    systems = all_systems(bench.stack, bench.users[0])
    rates: dict[str, Times] = {system.name: defaultdict(list) for system in systems}
    for round_number in range(COMPARE_ROUNDS):
        for system in systems if round_number % 2 else systems[::-1]:
            for workers in (1, 4):
                for figure, rate in (await throughput(system, workers)).items():
                    rates[system.name][figure].append(rate)
            await bench.rows.clear_outbox()
    reference = systems[0].name
    for figure in rates[reference]:
        for system in systems:
            value, base = (median(rates[name][figure]) for name in (system.name, reference))
            print_figure(
                f"{figure}: {system.name}",
                value,
                "jobs_per_s",
                reference=reference,
                reference_value=round(base, 1),
                ratio=round(value / base, 3),
                spread=spread(rates[system.name][figure]),
            )


async def throughput(system: System, workers: int) -> dict[str, float]:
    """Return jobs a second of a system, which has an empty queue before and after."""
    async with AsyncExitStack() as exits:
        sessions = [await exits.enter_async_context(system.open()) for _ in range(workers)]
        began_s = time.perf_counter()
        for _ in range(COMPARE_JOBS):
            await sessions[0].enqueue()
        enqueued_s = time.perf_counter()
        completed = await asyncio.gather(*(drain(session, system.batch) for session in sessions))
        ended_s = time.perf_counter()
    if sum(completed) != COMPARE_JOBS:
        raise SystemExit(f"{system.name} completed {sum(completed)} of {COMPARE_JOBS} jobs")
    return {
        "enqueue one by one": COMPARE_JOBS / (enqueued_s - began_s),
        f"claim and complete, {workers} worker{'s' * (workers > 1)}": COMPARE_JOBS / (ended_s - enqueued_s),
    }


async def drain(session: Any, batch: int) -> int:
    """Claim and complete jobs until there is none; return their number."""
    count = 0
    while jobs := await session.claim(batch):
        await session.complete(jobs)
        count += len(jobs)
    return count


async def growth(migrations: Path | None, sizes: list[int]) -> None:
    """Print what each call costs in a queue of each size, and what those of the other queues cost there.

    Each size has a stack of its own, and the rounds alternate between them: what else runs on this machine slows all
    sizes alike.
    """
    found: dict[int, Times] = {size: defaultdict(list) for size in sizes}
    async with AsyncExitStack() as exits:
        queues = {size: await exits.enter_async_context(filled(migrations, size)) for size in sizes}
        # The first rounds load plans and catalogs.
        for round_number in range(-WARM_UP, GROWTH_ROUNDS):
            for size in sizes if round_number % 2 else sizes[::-1]:
                for call, ms in (await all_calls(queues[size])).items() if round_number >= 0 else ():
                    found[size][call].append(ms)
                await asyncio.sleep(SETTLE_S)
    print_growth(found, "waiting", ("PgQueuer dequeue(1)", "procrastinate fetch_job"))
    print_claim(found)


@dataclass(frozen=True)
class Queues:
    """The queues of one stack."""

    bench: Bench
    smelts: SmeltSql
    pgqueuer: PgQueuer
    procrastinate: Procrastinate


@asynccontextmanager
async def filled(migrations: Path | None, size: int) -> AsyncIterator[Queues]:
    """Run a stack in which each queue has this many waiting jobs."""
    async with AsyncExitStack() as exits:
        bench = await exits.enter_async_context(started(migrations))
        await install_peers(bench.stack)
        queues = Queues(
            bench,
            await exits.enter_async_context(SmeltSql.open(bench.stack, bench.users[0])),
            await exits.enter_async_context(PgQueuer.open(bench.stack)),
            await exits.enter_async_context(Procrastinate.open(bench.stack)),
        )
        await bench.rows.add_finished(FINISHED, bench.users)
        await bench.rows.add_waiting(size, bench.users)
        await queues.pgqueuer.fill(size)
        await queues.procrastinate.fill(size, FINISHED)
        await bench.rows.vacuum()
        yield queues


async def all_calls(queues: Queues) -> dict[str, float]:
    """Return the time of each call in ms; the queues are as long afterwards."""
    return {
        **await smelt_calls(queues.bench, queues.smelts),
        **await smelt_reads(queues.bench, queues.smelts),
        **await pgqueuer_calls(queues.pgqueuer),
        **await procrastinate_calls(queues.procrastinate),
    }


async def smelt_calls(bench: Bench, smelts: SmeltSql) -> dict[str, float]:
    """Return the time of each call that changes a smelt, in ms; the queue is as long afterwards."""
    await smelts.as_worker("heartbeat_smelt_worker", worker_id=smelts.worker_id, info={})
    await smelts.sign_in(random.choice(bench.users))
    times = {}
    for count in (1, 4, 10):
        claimed, times[f"claim_smelts({count})"] = await timed(smelts.claim(count))
        expect_count(claimed, count)
        if count > 1:
            await smelts.release(claimed)
            continue
        report = {"smelt_id": claimed[0]["id"], "attempt": claimed[0]["attempt"], "status": "validating"}
        _, times["report_smelt_progress"] = await timed(smelts.as_worker("report_smelt_progress", **report))
        _, times["complete_smelt"] = await timed(smelts.complete(claimed))
    held = await smelts.claim(20)
    expect_count(held, 20)
    leases = [{"smelt_id": one["id"], "attempt": one["attempt"]} for one in held]
    renewal = smelts.as_worker("renew_smelt_leases", worker_id=smelts.worker_id, leases=leases)
    _, times["renew_smelt_leases(20)"] = await timed(renewal)
    await smelts.release(held)
    # One replaces the completed smelt, the other one is cancelled.
    _, times["create_smelt"] = await timed(smelts.enqueue())
    created = await smelts.enqueue()
    _, times["cancel_smelt"] = await timed(smelts.as_user("cancel_smelt", smelt_id=created))
    _, times["list_expired_smelts"] = await timed(smelts.as_worker("list_expired_smelts", worker_id=smelts.worker_id))
    await bench.rows.clear_outbox()
    return times


async def smelt_reads(bench: Bench, smelts: SmeltSql) -> dict[str, float]:
    """Return the time of each call that reads, in ms."""
    waiting = await bench.rows.waiting(100)
    finished = await bench.rows.finished(100)
    smelt_id, seq, owner = waiting[0]
    await smelts.sign_in(owner)
    calls = {
        "get_smelt, waiting and unchanged": smelts.as_user("get_smelt", smelt_id=smelt_id, after_seq=seq),
        "get_smelts, 100 waiting": smelts.as_worker("get_smelts", smelts=[{"id": str(row[0])} for row in waiting]),
        "get_smelts, 100 finished": smelts.as_worker("get_smelts", smelts=[{"id": str(one)} for one in finished]),
        "get_smelt_health": smelts.as_worker("get_smelt_health"),
        "list 50 under row level security": smelts.list_own(50),
    }
    return {call: (await timed(running))[1] for call, running in calls.items()}


async def pgqueuer_calls(queue: PgQueuer) -> dict[str, float]:
    """Return the time of PgQueuer's claims in ms; the queue is as long afterwards."""
    times = {}
    for count in (1, 10):
        jobs, times[f"PgQueuer dequeue({count})"] = await timed(queue.claim(count))
        expect_count(jobs, count)
        await queue.complete(jobs)
        for _ in jobs:
            await queue.enqueue()
    return times


async def procrastinate_calls(queue: Procrastinate) -> dict[str, float]:
    """Return the time of procrastinate's claims in ms; the queue is as long afterwards."""
    first, first_ms = await timed(queue.claim(1))
    ten, ten_ms = await timed(queue.claim(10))
    expect_count(first + ten, 11)
    await queue.complete(first + ten)
    for _ in range(11):
        await queue.enqueue()
    return {"procrastinate fetch_job": first_ms, "procrastinate fetch_job, ten times": ten_ms}


def expect_count(jobs: list[Any], count: int) -> None:
    """End the program if a claim returned fewer jobs than the queue has."""
    if len(jobs) != count:
        raise SystemExit(f"a claim returned {len(jobs)} of {count} jobs")


def print_growth(found: dict[int, Times], of: str, references: tuple[str, ...] = ()) -> None:
    """Print the median of each call at each size, and if it grows within the bar."""
    first, last = min(found), max(found)
    medians = {call: {size: median(found[size][call]) for size in found} for call in found[first]}
    ratios = {call: ms[last] / ms[first] for call, ms in medians.items()}
    for call, ms in medians.items():
        difference_ms = ms[last] - ms[first]
        print_figure(
            f"{call}: {last} {of} over {first}",
            ratios[call],
            "ratio",
            reference="bar",
            reference_value=MAX_RATIO,
            ms={str(size): round(value, 2) for size, value in ms.items()},
            spread_ms={str(size): spread(found[size][call]) for size in found},
            difference_ms=round(difference_ms, 2),
            met=ratios[call] <= MAX_RATIO or difference_ms <= MAX_DIFFERENCE_MS,
            **{f"ratio of {other}": round(ratios[other], 2) for other in references},
        )


def print_claim(found: dict[int, Times]) -> None:
    """Print how a claim of ten smelts compares with ten jobs that procrastinate fetches one by one."""
    size = CLAIM_SIZE if CLAIM_SIZE in found else max(found)
    reference = "procrastinate fetch_job, ten times"
    ms, reference_ms = (median(found[size][call]) for call in ("claim_smelts(10)", reference))
    print_figure(
        f"claim_smelts(10), {size} waiting",
        ms,
        "ms",
        reference=reference,
        reference_value=round(reference_ms, 2),
        ratio=round(ms / reference_ms, 2),
        spread=spread(found[size]["claim_smelts(10)"]),
        met=ms <= reference_ms,
    )


async def batches(bench: Bench) -> None:
    """Print what it costs to create and complete a smelt of a batch with many members that have ended."""
    user = bench.users[0]
    created = {members: await bench.rows.add_batch(user, members) for members in MEMBERS}
    await bench.rows.vacuum()
    found: dict[int, Times] = {members: defaultdict(list) for members in MEMBERS}
    async with SmeltSql.open(bench.stack, user) as smelts:
        for round_number in range(BATCH_ROUNDS + 1):
            for members, batch in created.items():
                smelt_id, create_ms = await timed(smelts.enqueue(batch_id=batch))
                claimed = await smelts.claim(1)
                expect_count([one for one in claimed if one["id"] == str(smelt_id)], 1)
                _, complete_ms = await timed(smelts.complete(claimed))
                await bench.rows.clear_outbox()
                if round_number:
                    found[members]["create_smelt in a batch"].append(create_ms)
                    found[members]["complete_smelt in a batch"].append(complete_ms)
    for members, batch in created.items():
        await bench.rows.expect_members(batch, members + BATCH_ROUNDS + 1)
    print_growth(found, "ended members")


async def polling(bench: Bench) -> None:
    """Print how long visitors wait for the state of their smelt, in a short and in a long queue, alternately."""
    visitors = await bench.rows.add_waiting(VISITORS, [None], age_s=0)
    found: Times = {"short": [], "long": []}
    for _ in range(POLL_ROUNDS):
        found["short"] += await poll_all(bench.stack, visitors)
        others = await bench.rows.add_waiting(POLL_QUEUE, list(bench.users))
        await bench.rows.vacuum()
        found["long"] += await poll_all(bench.stack, visitors)
        await bench.rows.delete(others)
        await bench.rows.vacuum()
    for name, percent in (("p50", 50), ("p95", 95)):
        ms, short_ms = (quantiles(found[queue], n=100)[percent - 1] for queue in ("long", "short"))
        print_figure(
            f"get_smelt of {VISITORS} polling visitors, {POLL_QUEUE} other smelts waiting, {name}",
            ms,
            "ms",
            reference="no other smelt waiting",
            reference_value=round(short_ms, 2),
            ratio=round(ms / short_ms, 2),
            difference_ms=round(ms - short_ms, 2),
            polls=len(found["long"]),
            met=ms <= MAX_RATIO * short_ms or ms - short_ms <= MAX_DIFFERENCE_MS,
        )


async def poll_all(stack: LocalStack, smelt_ids: list[UUID]) -> list[float]:
    """Poll each smelt every few seconds, evenly spread, through PostgREST; return the times in ms."""
    headers = {"apikey": stack.anon_key}
    async with httpx.AsyncClient(base_url=f"{stack.api_url}/rest/v1/rpc/", headers=headers, timeout=60) as http:

        async def poll(number: int, smelt_id: UUID) -> list[float]:
            times = []
            start_s = time.monotonic() + POLL_INTERVAL_S * number / len(smelt_ids)
            for due_s in (start_s + POLL_INTERVAL_S * turn for turn in range(int(POLL_WINDOW_S / POLL_INTERVAL_S))):
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                response, ms = await timed(http.post("get_smelt", json={"smelt_id": str(smelt_id), "after_seq": 1}))
                if "queue_position" not in response.raise_for_status().json():
                    raise SystemExit(f"the smelt {smelt_id} of a visitor does not wait: {response.text}")
                times.append(ms)
            return times

        polled = await asyncio.gather(*(poll(number, one) for number, one in enumerate(smelt_ids)))
        return [ms for times in polled for ms in times]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["compare", "growth", "batches", "polling"]
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="the parts to run")
    parser.add_argument(
        "--sizes", type=lambda text: [int(size) for size in text.split(",")], default=list(SIZES), help="for growth"
    )
    parser.add_argument("--migrations", type=Path, help="a folder like supabase/, for example of another checkout")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.only, sorted(arguments.sizes), arguments.migrations))

"""Measure how long a watch takes to be up to date again after each fault, and which ends it misses.

`scripts/bench/recovery.py [--rounds N] [FAULT...]` prints one line of JSON for each fault. One client behind a proxy
watches two smelts: one continues during the fault, the other ends during it. The time runs from the end of the fault
(from its start if it does not last) until both watches have the new state, or until both have ended with an error where
one is due; `rejoined` runs until the channel is joined again. `missed_ends` counts smelts whose end was not received
within a minute. The reference, in the first round, is the official client alone on the channel of the first smelt
through the same proxy: the time until it receives an event again, at most half a minute. Null means not within the
timeout.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Final

import psycopg
from bench_common import print_figure
from official_client import OfficialClient

from smelt.backend.project import Project
from smelt.contract.channels import smelt_channel
from smelt.local import LocalStack
from smelt.settings import LocalSettings
from smelt.subscriber.client import Client, connect
from tests.harness.faults import FAULTS, Fault, Inject, Topics, rejecting, sending_messages, system_error
from tests.harness.proxies import FaultyProxy, faulty_proxy
from tests.harness.scripted_worker import Job, ScriptedWorker
from tests.harness.stacks import User, running, sign_up
from tests.integration.subscriber.watch_recorder import WatchRecorder

ROUNDS: Final = 5
ROUNDS_OF_LONG_ONES: Final = 3
LONG_S: Final = 30.0
TIMEOUT_S: Final = 60.0
REFERENCE_TIMEOUT_S: Final = 30.0
PING_S: Final = 0.1


@dataclass
class Outcome:
    """The results of the rounds of one fault, in seconds; infinite after a timeout."""

    updated_s: list[float] = field(default_factory=list)
    rejoined_s: list[float] = field(default_factory=list)
    official_s: list[float] = field(default_factory=list)
    missed_ends: int = 0


@dataclass(frozen=True)
class Bench:
    """A project, a user, and a client and a scripted worker that connect without a proxy."""

    stack: LocalStack
    user: User
    direct: Client
    worker: ScriptedWorker

    async def play(self, fault: Fault, rounds: int) -> Outcome:
        """Run several rounds of one fault, concurrently unless it affects the whole process."""
        outcome = Outcome()
        rounds_of_fault = [self._round(fault, outcome, with_reference=number == 0) for number in range(rounds)]
        if fault.alone:
            for one in rounds_of_fault:
                await one
        else:
            await asyncio.gather(*rounds_of_fault)
        return outcome

    async def _round(self, fault: Fault, outcome: Outcome, *, with_reference: bool) -> None:
        created = [await self.direct.create(text="Ship it on Monday.") for _ in range(2)]
        jobs = [await self.worker.claim(smelt.id) for smelt in created]
        topics = [smelt_channel(str(smelt.id)) for smelt in created]
        # Each round has its own client: one that has just recovered waits longer, so as not to flap.
        async with (
            faulty_proxy(self.stack.api_url) as proxy,
            connect(proxy.url, self.stack.anon_key, self._token) as client,
            AsyncExitStack() as cleaning,
        ):
            viewers = [WatchRecorder(client, smelt.id) for smelt in created]
            for viewer in viewers:
                cleaning.push_async_callback(viewer.stop)
            official = OfficialClient(proxy.url, self.stack.anon_key, self.user.access_token, topics[0])
            if with_reference:
                await official.start()
                cleaning.push_async_callback(official.stop)
            if not await reached(lambda: all(viewer.updates and viewer.joined for viewer in viewers)):
                raise TimeoutError("the watches did not start")
            lasting = await cleaning.enter_async_context(AsyncExitStack())
            over_at = await inject(fault, lasting, proxy, topics, jobs)
            await measure(fault, outcome, viewers, official if with_reference else None, jobs, over_at)
            await conclude(fault, outcome, viewers, jobs)

    async def _token(self) -> str:
        return self.user.access_token


async def inject(
    fault: Fault, lasting: AsyncExitStack, proxy: FaultyProxy, topics: Topics, jobs: Sequence[Job]
) -> float:
    """Inject a fault while one smelt continues and the other ends; return the time at which the fault was over."""
    going, ending = jobs
    await lasting.enter_async_context(fault.inject(proxy, topics))
    over_at = time.monotonic()
    await going.report("synthesizing", 80)
    await ending.complete()
    if fault.lasts_s:
        await asyncio.sleep(fault.lasts_s)
        await lasting.aclose()
        over_at = time.monotonic()
    return over_at


async def measure(
    fault: Fault,
    outcome: Outcome,
    viewers: Sequence[WatchRecorder],
    official: OfficialClient | None,
    jobs: Sequence[Job],
    over_at: float,
) -> None:
    """Record the times until both watches are up to date and joined again, while further events are sent."""
    going, ending = viewers
    pinging = asyncio.create_task(ping(jobs[0]))
    due = (
        (lambda: going.failed and ending.failed)
        if fault.revokes_access
        else (lambda: going.percentage >= 80 and ending.over)
    )
    waits = [record_time(outcome.updated_s, due, over_at)]
    if fault.breaks:
        waits.append(record_time(outcome.rejoined_s, lambda: going.joined and going.rejoin_count, over_at))
    if official is not None:
        received = lambda: official.received_since(over_at)  # noqa: E731
        waits.append(record_time(outcome.official_s, received, over_at, REFERENCE_TIMEOUT_S))
    await asyncio.gather(*waits)
    pinging.cancel()
    await asyncio.wait([pinging])


async def conclude(fault: Fault, outcome: Outcome, viewers: Sequence[WatchRecorder], jobs: Sequence[Job]) -> None:
    """End the smelt that continued, and count the ends that were not received."""
    await jobs[0].complete()
    await reached(lambda: all(viewer.over for viewer in viewers))
    if not fault.revokes_access:
        outcome.missed_ends += sum(not viewer.over or viewer.failed for viewer in viewers)


async def record_time(
    times_s: list[float], condition: Callable[[], object], over_at: float, timeout_s: float = TIMEOUT_S
) -> None:
    """Record the seconds from a moment until a condition holds."""
    times_s.append(time.monotonic() - over_at if await reached(condition, timeout_s) else float("inf"))


async def reached(condition: Callable[[], object], timeout_s: float = TIMEOUT_S) -> bool:
    """Wait for a condition; return False after a timeout."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


async def ping(job: Job) -> None:
    """Report a little progress repeatedly, each a broadcast."""
    percentage = 80.0
    while True:
        percentage = min(percentage + 0.01, 99.0)
        await job.report("synthesizing", percentage)
        await asyncio.sleep(PING_S)


def revoking(db_url: str, stranger: User) -> Inject:
    """Return a fault: the smelts change their owner, and Realtime revokes the permission."""

    @asynccontextmanager
    async def inject(proxy: FaultyProxy, topics: Topics) -> AsyncIterator[None]:
        async with await psycopg.AsyncConnection.connect(db_url) as connection:
            ids = [topic.split(":")[1] for topic in topics]
            await connection.execute("update public.smelts set user_id = %s where id = any(%s)", (stranger.id, ids))
        reason = "You do not have permissions to read from this Channel topic: smelt"
        async with sending_messages(system_error(reason), ("phx_close", {}))(proxy, topics):
            yield

    return inject


def print_figures(name: str, fault: Fault, outcome: Outcome) -> None:
    """Print the results of one fault."""
    official_s = seconds(*outcome.official_s)
    print_figure(
        f"up to date after: {name}", median(outcome.updated_s), "seconds",
        reference="official client alone receives again", reference_value=official_s,
        max=seconds(max(outcome.updated_s)),
        rounds=len(outcome.updated_s),
        lasts_s=fault.lasts_s,
        rejoined_p50_s=seconds(median(outcome.rejoined_s)) if outcome.rejoined_s else None,
        rejoined_max_s=seconds(max(outcome.rejoined_s)) if outcome.rejoined_s else None,
        missed_ends=outcome.missed_ends,
    )  # fmt: skip


def seconds(value: float) -> float | None:
    """Return the rounded value; None after a timeout."""
    return None if value == float("inf") else round(value, 2)


async def run(stack: LocalStack, names: Sequence[str], rounds: int) -> None:
    """Run the faults one after another."""
    user, stranger = sign_up(stack), sign_up(stack)
    faults = FAULTS | {
        "Realtime gone": Fault(rejecting("realtime"), breaks=False),
        "revoked permission": Fault(revoking(stack.db_url, stranger), breaks=False, revokes_access=True),
    }
    async with (
        connect(stack.api_url, stack.anon_key, user.access_token) as direct,
        Project(stack.api_url, stack.service_role_key) as project,
    ):
        bench = Bench(stack, user, direct, ScriptedWorker(project))
        for name in names or faults:
            fault = faults[name]
            few = min(rounds, ROUNDS_OF_LONG_ONES)
            print_figures(name, fault, await bench.play(fault, few if fault.lasts_s >= LONG_S else rounds))


def main() -> None:
    """Run all faults, or those named on the command line, against an embedded stack."""
    parser = argparse.ArgumentParser(description="How long a watch takes to recover from each fault.")
    parser.add_argument("faults", nargs="*", metavar="FAULT")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    with running(LocalStack(postgrest=LocalSettings.read().postgrest)) as stack:
        asyncio.run(run(stack, arguments.faults, arguments.rounds))


if __name__ == "__main__":
    main()

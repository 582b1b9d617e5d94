"""How long a watch takes to be up to date again after each fault, and what it misses.

`scripts/bench/recovery.py [--rounds N] [FAULT...]` prints one line of JSON for each fault. One client behind a proxy
watches two smelts: one goes on during the fault, the other ends during it. The time runs from the end of the fault (for
those that are over at once, from the fault) until both are told, or until both watches have ended with an error where
that is due; `rejoined` until the channel is joined again. `missed_ends` counts smelts whose end was not told within a
minute. The reference, in the first round, is the official client alone on the channel of the first smelt through the
same proxy: until it hears an event again, within half a minute. Null stands for what did not come.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

import psycopg
from official import Official

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "integration" / "subscriber"))

from faults import FAULTS, Fault, Inject, Topics, refusing, sending_messages, system_error
from proxies import FaultyProxy, faulty_proxy
from scripted_worker import Job, ScriptedWorker
from stacks import User, running, sign_up
from watch_recorder import WatchRecorder

from smelt.backend.project import Project
from smelt.contract.channels import smelt_channel
from smelt.local import LocalStack
from smelt.subscriber.client import Client, connect

ROUNDS: Final = 5
ROUNDS_OF_LONG_ONES: Final = 3
LONG_S: Final = 30.0
WITHIN_S: Final = 60.0
REFERENCE_WITHIN_S: Final = 30.0
PING_S: Final = 0.1


@dataclass
class Outcome:
    """What came of the rounds of one fault; seconds, infinite for what did not come."""

    told_s: list[float] = field(default_factory=list)
    rejoined_s: list[float] = field(default_factory=list)
    official_s: list[float] = field(default_factory=list)
    missed_ends: int = 0


@dataclass(frozen=True)
class Bench:
    """A project, a user, and a client and a worker's hand that are not behind any proxy."""

    stack: LocalStack
    user: User
    direct: Client
    hand: ScriptedWorker

    async def play(self, fault: Fault, rounds: int) -> Outcome:
        """Several rounds of one fault, side by side unless it concerns the whole process."""
        outcome = Outcome()
        games = [self._round(fault, outcome, with_reference=number == 0) for number in range(rounds)]
        if fault.alone:
            for game in games:
                await game
        else:
            await asyncio.gather(*games)
        return outcome

    async def _round(self, fault: Fault, outcome: Outcome, *, with_reference: bool) -> None:
        created = [await self.direct.create(text="Ship it on Monday.") for _ in range(2)]
        jobs = [await self.hand.claim(smelt.id) for smelt in created]
        topics = [smelt_channel(str(smelt.id)) for smelt in created]
        # A client of its own a round: one that has just recovered waits longer, so as not to flap.
        async with (
            faulty_proxy(self.stack.api_url) as proxy,
            connect(proxy.url, self.stack.anon_key, self._token) as client,
            AsyncExitStack() as cleaning,
        ):
            viewers = [WatchRecorder(client, smelt.id) for smelt in created]
            for viewer in viewers:
                cleaning.push_async_callback(viewer.stop)
            official = Official(proxy.url, self.stack.anon_key, self.user.access_token, topics[0])
            if with_reference:
                await official.start()
                cleaning.push_async_callback(official.stop)
            if not await reached(lambda: all(viewer.updates and viewer.joined for viewer in viewers)):
                raise TimeoutError("the watches did not begin")
            lasting = await cleaning.enter_async_context(AsyncExitStack())
            over_at = await strike(fault, lasting, proxy, topics, jobs)
            await measure(fault, outcome, viewers, official if with_reference else None, jobs, over_at)
            await conclude(fault, outcome, viewers, jobs)

    async def _token(self) -> str:
        return self.user.access_token


async def strike(
    fault: Fault, lasting: AsyncExitStack, proxy: FaultyProxy, topics: Topics, jobs: Sequence[Job]
) -> float:
    """Let a fault happen while one smelt goes on and the other ends; answers when it was over."""
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
    official: Official | None,
    jobs: Sequence[Job],
    over_at: float,
) -> None:
    """Wait until all is told and joined again, while more is told all the time."""
    going, ending = viewers
    pinging = asyncio.create_task(ping(jobs[0]))
    due = (
        (lambda: going.failed and ending.failed)
        if fault.revokes_access
        else (lambda: going.percentage >= 80 and ending.over)
    )
    waits = [note(outcome.told_s, due, over_at)]
    if fault.breaks:
        waits.append(note(outcome.rejoined_s, lambda: going.joined and going.rejoin_count, over_at))
    if official is not None:
        heard = lambda: official.heard_since(over_at)  # noqa: E731
        waits.append(note(outcome.official_s, heard, over_at, REFERENCE_WITHIN_S))
    await asyncio.gather(*waits)
    pinging.cancel()
    await asyncio.wait([pinging])


async def conclude(fault: Fault, outcome: Outcome, viewers: Sequence[WatchRecorder], jobs: Sequence[Job]) -> None:
    """End the smelt that went on, and count the ends that were not told."""
    await jobs[0].complete()
    await reached(lambda: all(viewer.over for viewer in viewers))
    if not fault.revokes_access:
        outcome.missed_ends += sum(not viewer.over or viewer.failed for viewer in viewers)


async def note(
    times_s: list[float], condition: Callable[[], object], over_at: float, within_s: float = WITHIN_S
) -> None:
    """Note the seconds from a moment until a condition holds."""
    times_s.append(time.monotonic() - over_at if await reached(condition, within_s) else float("inf"))


async def reached(condition: Callable[[], object], within_s: float = WITHIN_S) -> bool:
    """Wait for a condition; false when it did not hold in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


async def ping(job: Job) -> None:
    """Broadcast a little progress again and again."""
    percentage = 80.0
    while True:
        percentage = min(percentage + 0.01, 99.0)
        await job.report("synthesizing", percentage)
        await asyncio.sleep(PING_S)


def revoking(db_url: str, stranger: User) -> Inject:
    """The smelts go over to somebody else, and Realtime finds out."""

    @asynccontextmanager
    async def inject(proxy: FaultyProxy, topics: Topics) -> AsyncIterator[None]:
        async with await psycopg.AsyncConnection.connect(db_url) as connection:
            ids = [topic.split(":")[1] for topic in topics]
            await connection.execute("update public.smelts set user_id = %s where id = any(%s)", (stranger.id, ids))
        reason = "You do not have permissions to read from this Channel topic: smelt"
        async with sending_messages(system_error(reason), ("phx_close", {}))(proxy, topics):
            yield

    return inject


def tell(name: str, fault: Fault, outcome: Outcome) -> None:
    """Print one fault."""
    line = {
        "fault": name,
        "lasts_s": fault.lasts_s,
        "rounds": len(outcome.told_s),
        "p50_s": seconds(median(outcome.told_s)),
        "max_s": seconds(max(outcome.told_s)),
        "rejoined_p50_s": seconds(median(outcome.rejoined_s)) if outcome.rejoined_s else None,
        "rejoined_max_s": seconds(max(outcome.rejoined_s)) if outcome.rejoined_s else None,
        "missed_ends": outcome.missed_ends,
        "reference": "official client alone, hears again",
        "reference_s": seconds(*outcome.official_s),
    }
    print(json.dumps(line), flush=True)


def seconds(value: float) -> float | None:
    """Rounded; None for what did not come."""
    return None if value == float("inf") else round(value, 2)


async def run(stack: LocalStack, names: Sequence[str], rounds: int) -> None:
    """Play the faults, one after the other."""
    user, stranger = sign_up(stack), sign_up(stack)
    error_summary = FAULTS | {
        "Realtime gone": Fault(refusing("realtime"), breaks=False),
        "revoked permission": Fault(revoking(stack.db_url, stranger), breaks=False, revokes_access=True),
    }
    async with (
        connect(stack.api_url, stack.anon_key, user.access_token) as direct,
        Project(stack.api_url, stack.service_role_key) as project,
    ):
        bench = Bench(stack, user, direct, ScriptedWorker(project))
        for name in names or error_summary:
            fault = error_summary[name]
            few = min(rounds, ROUNDS_OF_LONG_ONES)
            tell(name, fault, await bench.play(fault, few if fault.lasts_s >= LONG_S else rounds))


def main() -> None:
    """Play all faults, or those that are named, against an embedded stack."""
    parser = argparse.ArgumentParser(description="How long a watch takes to recover from each fault.")
    parser.add_argument("error_summary", nargs="*", metavar="FAULT")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    with running(LocalStack.from_env()) as stack:
        asyncio.run(run(stack, arguments.error_summary, arguments.rounds))


if __name__ == "__main__":
    main()

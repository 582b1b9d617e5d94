"""How long a watch takes to be up to date again after each fault of the network, and what it misses.

Prints one line of JSON for each fault. The time runs from the end of the fault (for those that are over at once, from
the fault) until the watch has told a state that was written meanwhile. The reference is the official client alone on
the same channel through the same proxy: until it hears events again. `missed_ends` counts smelts whose end was never
told.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from realtime import AsyncRealtimeClient

from smelt.backend.project import Project
from smelt.local import LocalStack
from smelt.subscriber.client import Client, connect
from smelt.subscriber.updates import Completed, Progress

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "integration" / "subscriber"))

from hands import Hand, Job
from proxies import FaultyProxy, Kind, faulty_proxy
from stacks import User, running, sign_up

ROUNDS = 3
WITHIN_S = 30.0
PING_S = 0.05

Act = Callable[[FaultyProxy], Awaitable[None]]


async def cut(proxy: FaultyProxy) -> None:
    """Every connection is reset; new ones work."""
    proxy.cut()


def refused(seconds: float, *kinds: Kind) -> Act:
    """Connections are reset for a while."""

    async def act(proxy: FaultyProxy) -> None:
        proxy.refuse(*kinds)
        await asyncio.sleep(seconds)
        proxy.heal()

    return act


def silent(seconds: float) -> Act:
    """Connections stay open and let nothing through, then they are gone."""

    async def act(proxy: FaultyProxy) -> None:
        proxy.silence()
        await asyncio.sleep(seconds)
        proxy.refuse()
        proxy.heal()

    return act


async def gone(proxy: FaultyProxy) -> None:
    """The machine does not listen for three seconds."""
    await proxy.stop()
    await asyncio.sleep(3)
    await proxy.start()


FAULTS: dict[str, Act] = {
    "reset": cut,
    "refused for 3 s": refused(3),
    "Realtime refused for 10 s": refused(10, "realtime"),
    "PostgREST refused for 5 s": refused(5, "rest"),
    "silent for 5 s, then reset": silent(5),
    "silent for 25 s, then reset": silent(25),
    "not listening for 3 s": gone,
}


@dataclass
class Outcome:
    """What came of the rounds of one fault."""

    ours_s: list[float] = field(default_factory=list)
    official_s: list[float] = field(default_factory=list)
    missed_ends: int = 0


@dataclass
class Bench:
    """A project behind a proxy, a user, and a worker's hand that is not behind it."""

    proxy: FaultyProxy
    direct: Client
    hand: Hand
    key: str
    user: User

    async def run(self, act: Act) -> Outcome:
        """Several rounds of one fault."""
        outcome = Outcome()
        for _ in range(ROUNDS):
            await self._round(act, outcome)
        return outcome

    async def _round(self, act: Act, outcome: Outcome) -> None:
        # A client of its own a round: one that has just recovered waits longer, so as not to flap.
        async with connect(self.proxy.url, self.key, self.user.access_token) as faulty:
            await self._play(faulty, act, outcome)

    async def _play(self, faulty: Client, act: Act, outcome: Outcome) -> None:
        created = await self.direct.create(text="Ship it on Monday.")
        job = await self.hand.claim(created.id)
        ours, official = Ours(faulty, created.id), Official(self.proxy.url, self.key, self.user, created.id)
        await official.start()
        await until(lambda: ours.told and faulty.diagnostics().connection.joined_count == 1)
        acting = asyncio.create_task(act(self.proxy))
        await asyncio.sleep(0)
        await job.report("synthesizing", 80)  # Told while nobody hears it.
        await acting
        healed_at = time.monotonic()
        pinging = asyncio.create_task(ping(job))
        official_s = asyncio.create_task(after(lambda: official.heard_since(healed_at), healed_at))
        outcome.ours_s.append(await after(lambda: ours.percentage >= 80, healed_at))
        outcome.official_s.append(await official_s)
        pinging.cancel()
        await asyncio.wait([pinging])
        await job.complete()
        outcome.missed_ends += not await reached(lambda: ours.ended)
        await ours.stop()
        await official.stop()


class Ours:
    """A watch."""

    def __init__(self, client: Client, smelt_id: UUID) -> None:
        self.told = False
        self.ended = False
        self.percentage = 0.0
        self._client = client
        self._smelt_id = smelt_id
        self._task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Watch no more."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _watch(self) -> None:
        async with aclosing(self._client.watch(self._smelt_id)) as updates:
            async for update in updates:
                self.told = True
                if isinstance(update, Progress):
                    self.percentage = update.percentage
                self.ended = isinstance(update, Completed)


class Official:
    """The official client as its documentation has it."""

    def __init__(self, url: str, key: str, user: User, smelt_id: UUID) -> None:
        self._client = AsyncRealtimeClient(f"{url}/realtime/v1", key)
        self._token = user.access_token
        self._topic = f"smelt:{smelt_id}"
        self._heard_at = 0.0

    async def start(self) -> None:
        """Join the channel."""
        await self._client.connect()
        await self._client.set_auth(self._token)
        channel = self._client.channel(self._topic, {"config": {"private": True, "broadcast": None, "presence": None}})
        channel.on_broadcast("*", self._hear)
        await channel.subscribe()

    def heard_since(self, moment: float) -> bool:
        """True once an event came after a moment."""
        return self._heard_at > moment

    async def stop(self) -> None:
        """Close it, in whatever state it is."""
        await self._client.close()

    def _hear(self, _: object) -> None:
        self._heard_at = time.monotonic()


async def ping(job: Job) -> None:
    """Broadcast a little progress again and again."""
    percentage = 80.0
    while True:
        percentage = min(percentage + 0.1, 99.0)
        await job.report("synthesizing", percentage)
        await asyncio.sleep(PING_S)


async def after(condition: Callable[[], bool], moment: float) -> float:
    """Seconds from a moment until a condition holds; infinite when it does not within half a minute."""
    return time.monotonic() - moment if await reached(condition) else float("inf")


async def until(condition: Callable[[], object]) -> None:
    """Wait for what must come."""
    if not await reached(condition):
        raise TimeoutError("the bench is not ready")


async def reached(condition: Callable[[], object]) -> bool:
    """Wait for a condition; false after half a minute."""
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True


def tell(fault: str, outcome: Outcome) -> None:
    """Print one fault."""
    line = {
        "fault": fault,
        "rounds": ROUNDS,
        "p50_s": middle(outcome.ours_s),
        "max_s": seconds(max(outcome.ours_s)),
        "missed_ends": outcome.missed_ends,
        "reference": "official client alone, hears again",
        "reference_p50_s": middle(outcome.official_s),
        "reference_max_s": seconds(max(outcome.official_s)),
    }
    print(json.dumps(line), flush=True)


def middle(values: list[float]) -> float | None:
    """The median."""
    return seconds(sorted(values)[len(values) // 2])


def seconds(value: float) -> float | None:
    """Null stands for what did not come within half a minute."""
    return None if value == float("inf") else round(value, 2)


async def measure(url: str, key: str, service_key: str, user: User) -> None:
    """Play all faults."""
    async with (
        faulty_proxy(url) as proxy,
        connect(url, key, user.access_token) as direct,
        Project(url, service_key) as project,
    ):
        bench = Bench(proxy, direct, Hand(project), key, user)
        for fault, act in FAULTS.items():
            tell(fault, await bench.run(act))


def main() -> None:
    """Play all faults against an embedded stack."""
    with running(LocalStack.from_env()) as stack:
        asyncio.run(measure(stack.api_url, stack.anon_key, stack.service_role_key, sign_up(stack)))


if __name__ == "__main__":
    main()

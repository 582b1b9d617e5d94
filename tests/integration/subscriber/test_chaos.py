"""Random faults, one after the other, and still every watch tells its smelt whole, in order, and once."""

import asyncio
import random

import pytest
from hands import Hand
from proxies import KINDS, FaultyProxy, faulty_proxy
from stacks import Stack, User

from smelt.backend.project import Project
from smelt.backend.realtime import Pace
from smelt.contract.state import Created
from smelt.subscriber.client import Client, connect
from smelt.subscriber.updates import Completed, Progress, Segments, Update

AT_ONCE = 6
STEPS = 12
BRISK = Pace(heartbeat_s=0.3, answer_s=0.5)


async def break_things(proxy: FaultyProxy, chance: random.Random) -> None:
    """One fault after the other, until cancelled."""
    while True:
        kinds = chance.choice([(), *((kind,) for kind in KINDS)])
        match chance.choice(["cut", "refuse", "silence", "stop", "heal", "heal"]):
            case "cut":
                proxy.cut(*kinds)
            case "refuse":
                proxy.refuse(*kinds)
            case "silence":
                proxy.silence(*kinds)
            case "stop":
                await proxy.stop()
                await asyncio.sleep(chance.uniform(0, 0.3))
                await proxy.start()
            case _:
                proxy.heal()
        await asyncio.sleep(chance.uniform(0.02, 0.4))


async def work(hand: Hand, created: Created, chance: random.Random) -> list[str]:
    """A smelt from its claim to its end; some of it is broadcast, all of it is written."""
    job = await hand.claim(created.id)
    words = [f"word {number}" for number in range(STEPS)]
    for number, word in enumerate(words):
        stage = "transcribing" if number < STEPS - 2 else "synthesizing"
        await job.report(stage, 20 + 4 * number, words=[word], first=number, tell=chance.random() < 0.8)
        await asyncio.sleep(chance.uniform(0, 0.2))
    await job.complete()
    return words


async def survive(stack: Stack, user: User, hand: Hand, seed: int) -> None:
    chance = random.Random(seed)
    async with connect(stack.api_url, stack.anon_key, user.access_token) as creator:
        created = await creator.create(text=f"Schedule {seed}")
    async with faulty_proxy(stack.api_url) as proxy:
        project = Project(proxy.url, stack.anon_key, access_token=user.access_token, timeout_s=1, pace=BRISK)
        async with Client(project) as client:
            told: list[Update] = []

            async def watch() -> None:
                async for update in client.watch(created.id):
                    told.extend([update])

            watching = asyncio.create_task(watch())
            breaking = asyncio.create_task(break_things(proxy, chance))
            words = await work(hand, created, chance)
            breaking.cancel()
            await asyncio.wait([breaking])
            await heal(proxy)
            await asyncio.wait_for(watching, 60)
    check(told, words)


async def heal(proxy: FaultyProxy) -> None:
    """Whatever was broken last, let everything pass again."""
    await proxy.stop()
    proxy.heal()
    await proxy.start()


def check(told: list[Update], words: list[str]) -> None:
    ends = [update for update in told if isinstance(update, Completed)]
    assert ends == [told[-1]]
    progress = [update for update in told if isinstance(update, Progress)]
    assert [update.seq for update in progress] == sorted({update.seq for update in progress})
    percentages = [update.percentage for update in progress]
    assert percentages == sorted(percentages)
    assert [s.text for update in told if isinstance(update, Segments) for s in update.segments] == words


@pytest.mark.parametrize("first_seed", [0, AT_ONCE])
async def test_random_faults_lose_nothing(workshop: Stack, user: User, hand: Hand, first_seed: int) -> None:
    async with asyncio.TaskGroup() as schedules:
        for seed in range(first_seed, first_seed + AT_ONCE):
            schedules.create_task(survive(workshop, user, hand, seed))

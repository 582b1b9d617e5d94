"""Random faults, one after the other: every watch tells its smelt whole, in order, and once, and nothing is left."""

import asyncio
import random
from collections.abc import Sequence

import httpx
import pytest
from leaks import assert_no_leaks
from proxies import KINDS, FaultyProxy, faulty_proxy
from recorder import Recorder
from scripted_worker import ScriptedWorker
from stacks import Stack
from tenacity import wait_random_exponential
from waiting import until

from smelt.backend import retries
from smelt.backend.project import Project
from smelt.backend.realtime import RealtimeTimings
from smelt.contract.state import Created
from smelt.subscriber.client import Client
from smelt.subscriber.updates import Completed, Progress, Segments, Update

SCHEDULES = 50
CONCURRENCY = 16
STEPS = 4
# All of them share two cores.
PACE = RealtimeTimings(heartbeat_interval_s=1.0, reply_timeout_s=2.0)


@pytest.mark.timeout(300)
# What httpx was opening when a request ran out of time is left to the garbage collector. What nobody collects is found
# by the check for what is left behind.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_chaos_of_random_faults_loses_no_update(shared_stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nobody has to wait half a minute after the last fault, none of which lasts that long.
    monkeypatch.setattr(retries, "_RECONNECT_WAIT", wait_random_exponential(multiplier=0.5, max=3))
    async with (
        assert_no_leaks(),
        # A connection that was idle may be closed by the time it is used again.
        httpx.AsyncClient(headers={"apikey": shared_stack.anon_key, "connection": "close"}, timeout=60) as auth,
        Project(shared_stack.api_url, shared_stack.service_role_key) as project,
        asyncio.TaskGroup() as schedules,
    ):
        scripted_worker, places = ScriptedWorker(project), asyncio.Semaphore(CONCURRENCY)

        async def one(seed: int) -> None:
            async with places:
                await run_schedule(shared_stack, auth, scripted_worker, random.Random(seed))

        for seed in range(SCHEDULES):
            schedules.create_task(one(seed))


async def run_schedule(
    stack: Stack, auth: httpx.AsyncClient, scripted_worker: ScriptedWorker, chance: random.Random
) -> None:
    """One user follows a smelt, all rows and all notifications through a network that breaks."""
    token = await sign_in(stack, auth)
    async with (
        faulty_proxy(stack.api_url) as proxy,
        Project(proxy.url, stack.anon_key, access_token=token, timeout_s=3, timings=PACE) as project,
        Client(project) as client,
    ):
        created = await client.create(text="Ship it on Monday.")
        told = Recorder()
        watching = asyncio.create_task(told.watch(client, created.id))
        owning = [asyncio.create_task(told.record_rows(client)), asyncio.create_task(told.record_notifications(client))]
        breaking = asyncio.create_task(break_things(proxy, chance))
        words = await work(scripted_worker, created, chance)
        breaking.cancel()
        await asyncio.wait([breaking])
        await heal(proxy)
        await asyncio.wait_for(watching, 60)
        rows, notifications = await scripted_worker.rows_of_user(await project.user_id())
        await until(lambda: told.rows == rows and told.notifications == notifications, timeout_s=60)
        assert not any(task.done() for task in owning)
        for task in owning:
            task.cancel()
        await asyncio.wait(owning)
    check(told.updates[created.id], words)


async def sign_in(stack: Stack, auth: httpx.AsyncClient) -> str:
    """A user without an address, who takes no time to make."""
    response = await auth.post(f"{stack.api_url}/auth/v1/signup", json={})
    return str(response.raise_for_status().json()["access_token"])


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
                proxy.stall(*kinds)
            case "stop":
                await proxy.stop()
                await asyncio.sleep(chance.uniform(0, 0.3))
                await proxy.start()
            case _:
                proxy.heal()
        await asyncio.sleep(chance.uniform(0.05, 1))


async def work(scripted_worker: ScriptedWorker, created: Created, chance: random.Random) -> list[str]:
    """A smelt from its claim to its end; some of it is broadcast, all of it is written."""
    job = await scripted_worker.claim(created.id)
    words = [f"word {number}" for number in range(STEPS)]
    for number, word in enumerate(words):
        await asyncio.sleep(chance.uniform(0, 1))
        stage = "transcribing" if number < STEPS - 2 else "synthesizing"
        await job.report(stage, 20 + 4 * number, words=[word], first=number, broadcast=chance.random() < 0.8)
    await job.complete()
    return words


async def heal(proxy: FaultyProxy) -> None:
    """Whatever was broken last, let everything pass again."""
    await proxy.stop()
    proxy.heal()
    await proxy.start()


def check(told: Sequence[Update], words: list[str]) -> None:
    ends = [update for update in told if isinstance(update, Completed)]
    assert ends == [told[-1]]
    progress = [update for update in told if isinstance(update, Progress)]
    seqs = [update.seq for update in progress]
    assert seqs == sorted(seqs)
    percentages = [update.percentage for update in progress]
    assert percentages == sorted(percentages)
    assert [s.text for update in told if isinstance(update, Segments) for s in update.segments] == words

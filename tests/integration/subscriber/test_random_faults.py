"""Random faults in sequence: each watch delivers its smelt completely, in order and once, and leaks nothing."""

import asyncio
import random
from collections.abc import Sequence

import httpx
import pytest
from tenacity import wait_random_exponential

from smelt.backend import retries
from smelt.backend.project import Project
from smelt.backend.realtime import RealtimeTimings
from smelt.contract.state import Created
from smelt.subscriber.client import Client
from smelt.subscriber.updates import Completed, Progress, Segments, Update
from tests.harness.leaks import assert_no_leaks
from tests.harness.proxies import KINDS, FaultyProxy, faulty_proxy
from tests.harness.recorder import Recorder
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import Stack
from tests.harness.waiting import until

SCHEDULES = 50
CONCURRENCY = 16
STEPS = 4
# All clients share two cores.
PACE = RealtimeTimings(heartbeat_interval_s=1.0, reply_timeout_s=2.0)


@pytest.mark.timeout(300)
# httpx leaves connections that it was opening when a request timed out to the garbage collector. `assert_no_leaks`
# detects those that are not collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_chaos_of_random_faults_loses_no_update(shared_stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    # The faults are short: a backoff of up to 30 seconds after the last one would only slow the test down.
    monkeypatch.setattr(retries, "_RECONNECT_WAIT", wait_random_exponential(multiplier=0.5, max=3))
    # The read that follows the end takes longer than 5 s on a busy machine, with a backoff of up to 4 s before it.
    monkeypatch.setattr("smelt.subscriber.watch.END_TIMEOUT_S", 30.0)
    async with (
        assert_no_leaks(),
        # An idle connection may be closed before it is used again.
        httpx.AsyncClient(headers={"apikey": shared_stack.anon_key, "connection": "close"}, timeout=60) as auth,
        Project(shared_stack.api_url, shared_stack.service_role_key) as project,
        asyncio.TaskGroup() as schedules,
    ):
        scripted_worker, slots = ScriptedWorker(project), asyncio.Semaphore(CONCURRENCY)

        async def one(seed: int) -> None:
            async with slots:
                await run_schedule(shared_stack, auth, scripted_worker, random.Random(seed))

        for seed in range(SCHEDULES):
            schedules.create_task(one(seed))


async def run_schedule(
    stack: Stack, auth: httpx.AsyncClient, scripted_worker: ScriptedWorker, chance: random.Random
) -> None:
    """Follow a smelt, all rows and all notifications of a user through a faulty network."""
    token = await sign_in(stack, auth)
    async with (
        faulty_proxy(stack.api_url) as proxy,
        Project(proxy.url, stack.anon_key, access_token=token, timeout_s=3, timings=PACE) as project,
        Client(project) as client,
    ):
        created = await client.create(text="Ship it on Monday.")
        recorder = Recorder()
        watching = asyncio.create_task(recorder.watch(client, created.id))
        owning = [
            asyncio.create_task(recorder.record_rows(client)),
            asyncio.create_task(recorder.record_notifications(client)),
        ]
        injecting = asyncio.create_task(inject_faults(proxy, chance))
        words = await work(scripted_worker, created, chance)
        injecting.cancel()
        await asyncio.wait([injecting])
        await heal(proxy)
        await asyncio.wait_for(watching, 60)
        rows, notifications = await scripted_worker.rows_of_user(await project.user_id())
        await until(lambda: recorder.rows == rows and recorder.notifications == notifications, timeout_s=60)
        assert not any(task.done() for task in owning)
        for task in owning:
            task.cancel()
        await asyncio.wait(owning)
    check(recorder.updates[created.id], words)


async def sign_in(stack: Stack, auth: httpx.AsyncClient) -> str:
    """Sign in anonymously, which is fast; return the access token."""
    response = await auth.post(f"{stack.api_url}/auth/v1/signup", json={})
    return str(response.raise_for_status().json()["access_token"])


async def inject_faults(proxy: FaultyProxy, chance: random.Random) -> None:
    """Inject one fault after another, until cancelled."""
    while True:
        kinds = chance.choice([(), *((kind,) for kind in KINDS)])
        match chance.choice(["cut", "reject", "stall", "stop", "heal", "heal"]):
            case "cut":
                proxy.cut(*kinds)
            case "reject":
                proxy.reject(*kinds)
            case "stall":
                proxy.stall(*kinds)
            case "stop":
                await proxy.stop()
                await asyncio.sleep(chance.uniform(0, 0.3))
                await proxy.start()
            case _:
                proxy.heal()
        await asyncio.sleep(chance.uniform(0.05, 1))


async def work(scripted_worker: ScriptedWorker, created: Created, chance: random.Random) -> list[str]:
    """Work on a smelt from its claim to its end; some events are not broadcast."""
    job = await scripted_worker.claim(created.id)
    words = [f"word {number}" for number in range(STEPS)]
    for number, word in enumerate(words):
        await asyncio.sleep(chance.uniform(0, 1))
        stage = "transcribing" if number < STEPS - 2 else "synthesizing"
        await job.report(stage, 20 + 4 * number, words=[word], first=number, broadcast=chance.random() < 0.8)
    await job.complete()
    return words


async def heal(proxy: FaultyProxy) -> None:
    """End all faults."""
    await proxy.stop()
    proxy.heal()
    await proxy.start()


def check(updates: Sequence[Update], words: list[str]) -> None:
    ends = [update for update in updates if isinstance(update, Completed)]
    assert ends == [updates[-1]]
    progress = [update for update in updates if isinstance(update, Progress)]
    seqs = [update.seq for update in progress]
    assert seqs == sorted(seqs)
    percentages = [update.percentage for update in progress]
    assert percentages == sorted(percentages)
    assert [s.text for update in updates if isinstance(update, Segments) for s in update.segments] == words

"""A watch without polling loses no update in any fault of the network and of Realtime."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from smelt.backend.project import Project
from smelt.backend.realtime import RealtimeTimings
from smelt.backend.retries import without_waiting
from smelt.contract.channels import smelt_channel
from smelt.subscriber.client import Client, connect
from tests.harness.faults import FAULTS
from tests.harness.proxies import FaultyProxy
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import Stack, User, sign_up
from tests.harness.waiting import until
from tests.integration.subscriber.watch_recorder import WatchRecorder

# Only a heartbeat without a reply detects these faults; all others must be detected without one.
DETECTED_BY_HEARTBEAT = {"half-open", "blackholed"}
LONG_HEARTBEAT = RealtimeTimings(
    heartbeat_interval_s=60, open_timeout_s=1, clock_check_interval_s=0.1, joins_per_second=1000
)


@pytest.fixture(scope="module")
def user(shared_stack: Stack) -> User:
    return sign_up(shared_stack)


@pytest.fixture
async def client(name: str, shared_stack: Stack, proxy: FaultyProxy, user: User) -> AsyncIterator[Client]:
    """A client behind the proxy that does not poll and retries without a delay."""
    timings = (
        replace(LONG_HEARTBEAT, heartbeat_interval_s=0.2, reply_timeout_s=0.5)
        if name in DETECTED_BY_HEARTBEAT
        else LONG_HEARTBEAT
    )

    async def fresh() -> str:
        return user.access_token

    project = Project(proxy.url, shared_stack.anon_key, access_token=fresh, timeout_s=1, timings=timings)
    with without_waiting():
        async with Client(project, polling=False) as client:
            yield client


@pytest.mark.parametrize("name", FAULTS)
async def test_reconnect_after_any_fault_loses_no_update(
    name: str, shared_stack: Stack, proxy: FaultyProxy, user: User, client: Client, scripted_worker: ScriptedWorker
) -> None:
    """Updates written meanwhile are delivered in order; one smelt continues, and the end of another is not missed."""
    fault = FAULTS[name]
    async with connect(shared_stack.api_url, shared_stack.anon_key, user.access_token) as direct:
        going, ending = [await direct.create(text="Ship it on Monday.") for _ in range(2)]
    work, last_work = await scripted_worker.claim(going.id), await scripted_worker.claim(ending.id)
    viewer, last_viewer = WatchRecorder(client, going.id), WatchRecorder(client, ending.id)
    await until(lambda: viewer.joined and last_viewer.joined)
    await work.report("transcribing", 30, words=["before"])
    await until(lambda: viewer.words == ["before"])

    async with fault.inject(proxy, [smelt_channel(str(smelt.id)) for smelt in (going, ending)]):
        await work.report("transcribing", 40, words=["meanwhile"], first=1)
        await last_work.complete()
        if fault.breaks:
            await until(lambda: viewer.rejoin_count or not viewer.joined, timeout_s=30)
    await until(lambda: viewer.words == ["before", "meanwhile"], timeout_s=30)
    assert (viewer.rejoin_count > 0) == fault.breaks
    await work.report("transcribing", 50, words=["after"], first=2)
    await until(lambda: viewer.percentage == 50)
    await work.complete()
    for each in (viewer, last_viewer):
        await each.end()
    assert viewer.words == ["before", "meanwhile", "after"]

"""A watch comes through every fault of the network and of Realtime, from live events alone."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from faults import FAULTS
from hands import Hand
from proxies import FaultyProxy
from stacks import Stack, User, sign_up
from viewer import Viewer
from waiting import until

from smelt.backend.project import Project
from smelt.backend.realtime import Pace
from smelt.backend.retrying import without_waiting
from smelt.contract.channels import smelt_channel
from smelt.subscriber.client import Client, connect

# Of these nothing tells but a heartbeat without an answer; all others have to be noticed before there is one.
NOTICED_BY_SILENCE = {"half-open", "blackholed"}
PATIENT = Pace(heartbeat_s=60, open_timeout_s=1, clock_check_s=0.1, joins_a_second=1000)


@pytest.fixture(scope="module")
def user(workshop: Stack) -> User:
    return sign_up(workshop)


@pytest.fixture
async def client(name: str, workshop: Stack, proxy: FaultyProxy, user: User) -> AsyncIterator[Client]:
    """A client behind the proxy that does not poll, and does not wait before it tries again."""
    pace = replace(PATIENT, heartbeat_s=0.2, answer_s=0.5) if name in NOTICED_BY_SILENCE else PATIENT

    async def fresh() -> str:
        return user.access_token

    project = Project(proxy.url, workshop.anon_key, access_token=fresh, timeout_s=1, pace=pace)
    with without_waiting():
        async with Client(project, polling=False) as client:
            yield client


@pytest.mark.parametrize("name", FAULTS)
async def test_a_watch_comes_through(
    name: str, workshop: Stack, proxy: FaultyProxy, user: User, client: Client, hand: Hand
) -> None:
    """What is written meanwhile is told in order, one smelt goes on, and the end of another is not missed."""
    fault = FAULTS[name]
    async with connect(workshop.api_url, workshop.anon_key, user.access_token) as direct:
        going, ending = [await direct.create(text="Ship it on Monday.") for _ in range(2)]
    work, last_work = await hand.claim(going.id), await hand.claim(ending.id)
    viewer, last_viewer = Viewer(client, going.id), Viewer(client, ending.id)
    await until(lambda: viewer.joined and last_viewer.joined)
    await work.report("transcribing", 30, words=["before"])
    await until(lambda: viewer.words == ["before"])

    async with fault.inject(proxy, [smelt_channel(str(smelt.id)) for smelt in (going, ending)]):
        await work.report("transcribing", 40, words=["meanwhile"], first=1)
        await last_work.complete()
        if fault.breaks:
            await until(lambda: viewer.rejoin_count or not viewer.joined, within_s=30)
    await until(lambda: viewer.words == ["before", "meanwhile"], within_s=30)
    assert (viewer.rejoin_count > 0) == fault.breaks
    await work.report("transcribing", 50, words=["after"], first=2)
    await until(lambda: viewer.percentage == 50)
    await work.complete()
    for each in (viewer, last_viewer):
        await each.end()
    assert viewer.words == ["before", "meanwhile", "after"]

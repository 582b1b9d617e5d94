"""A watch comes through whatever the network does."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from hands import Hand
from proxies import FaultyProxy
from stacks import Stack, User
from waiting import until

from smelt.backend.project import Project
from smelt.backend.realtime import Pace
from smelt.contract.state import Created
from smelt.errors import Unavailable
from smelt.subscriber.client import Client, connect
from smelt.subscriber.updates import Completed, Progress, Segments, Update

GREETING = Path(__file__).parents[2] / "recordings" / "greeting.ogg"
BRISK = Pace(heartbeat_s=0.3, answer_s=0.5)


@pytest.fixture
async def quiet(workshop: Stack, proxy: FaultyProxy, user: User) -> AsyncIterator[Client]:
    """A client behind the proxy that does not poll."""
    async with Client(
        Project(proxy.url, workshop.anon_key, access_token=user.access_token, pace=BRISK), polling=False
    ) as client:
        yield client


@pytest.fixture
async def polling(workshop: Stack, proxy: FaultyProxy, user: User) -> AsyncIterator[Client]:
    """A client behind the proxy that polls."""
    async with Client(Project(proxy.url, workshop.anon_key, access_token=user.access_token, pace=BRISK)) as client:
        yield client


class Viewer:
    """Takes every update of a watch as it comes."""

    def __init__(self, client: Client, smelt_id: UUID) -> None:
        self.told: list[Update] = []
        self._client = client
        self._smelt_id = smelt_id
        self._task = asyncio.create_task(self._watch())

    @property
    def words(self) -> list[str]:
        return [segment.text for update in self.told if isinstance(update, Segments) for segment in update.segments]

    @property
    def percentage(self) -> float:
        return max((update.percentage for update in self.told if isinstance(update, Progress)), default=-1)

    @property
    def joined(self) -> bool:
        return self._client.diagnostics().connection.joined_count == 1

    async def end(self, within_s: float = 20) -> Completed:
        """The end, once the watch is over; everything before it has to be in order."""
        await asyncio.wait_for(self._task, within_s)
        *before, last = self.told
        assert isinstance(last, Completed)
        assert not any(isinstance(update, Completed) for update in before)
        percentages = [update.percentage for update in before if isinstance(update, Progress)]
        assert percentages == sorted(percentages)
        return last

    async def _watch(self) -> None:
        async for update in self._client.watch(self._smelt_id):
            self.told += [update]


async def create(workshop: Stack, user: User) -> Created:
    async with connect(workshop.api_url, workshop.anon_key, user.access_token) as client:
        return await client.create(files=[GREETING])


async def test_what_is_missed_while_the_socket_is_cut_is_there_after_it(
    workshop: Stack, proxy: FaultyProxy, user: User, quiet: Client, hand: Hand
) -> None:
    created = await create(workshop, user)
    job = await hand.claim(created.id)
    viewer = Viewer(quiet, created.id)
    await until(lambda: viewer.joined)
    await job.report("transcribing", 30, words=["before"])
    await until(lambda: viewer.percentage == 30)
    proxy.refuse("realtime")
    await until(lambda: not viewer.joined)
    await job.report("transcribing", 40, words=["missed"], first=1)
    proxy.heal()
    await until(lambda: viewer.words == ["before", "missed"])
    await job.report("transcribing", 50, words=["after"], first=2)
    await until(lambda: viewer.percentage == 50)
    await job.complete()
    await viewer.end()
    assert viewer.words == ["before", "missed", "after"]
    assert quiet.diagnostics().connection.reconnect_count == 1


async def test_an_end_that_came_while_the_socket_was_cut_is_told_after_it(
    workshop: Stack, proxy: FaultyProxy, user: User, quiet: Client, hand: Hand
) -> None:
    created = await create(workshop, user)
    job = await hand.claim(created.id)
    viewer = Viewer(quiet, created.id)
    await until(lambda: viewer.joined)
    proxy.refuse("realtime")
    await job.complete()
    proxy.heal()
    await viewer.end()


async def test_a_socket_that_went_silent_is_noticed_and_replaced(
    workshop: Stack, proxy: FaultyProxy, user: User, quiet: Client, hand: Hand
) -> None:
    created = await create(workshop, user)
    job = await hand.claim(created.id)
    viewer = Viewer(quiet, created.id)
    await until(lambda: viewer.joined)
    proxy.silence("realtime")
    await until(lambda: not viewer.joined)
    await job.report("decoding", 15)
    proxy.heal()
    await until(lambda: viewer.percentage == 15)
    await job.complete()
    await viewer.end()


async def test_a_machine_that_is_gone_for_a_while_is_found_again(
    workshop: Stack, proxy: FaultyProxy, user: User, polling: Client, hand: Hand
) -> None:
    created = await create(workshop, user)
    job = await hand.claim(created.id)
    viewer = Viewer(polling, created.id)
    await until(lambda: viewer.joined)
    await proxy.stop()
    await until(lambda: polling.diagnostics().connection.failures_in_a_row >= 2)
    await job.complete()
    await proxy.start()
    await viewer.end(40)


async def test_without_realtime_polling_alone_tells_the_end(
    workshop: Stack, proxy: FaultyProxy, user: User, polling: Client, hand: Hand
) -> None:
    proxy.refuse("realtime")
    created = await create(workshop, user)
    job = await hand.claim(created.id)
    viewer = Viewer(polling, created.id)
    await until(lambda: viewer.told)
    await job.report("transcribing", 33, words=["polled"])
    await until(lambda: viewer.words == ["polled"], within_s=20)
    await job.complete()
    await viewer.end(30)
    assert polling.diagnostics().connection.reconnect_count == 0
    assert polling.diagnostics().connection.last_error is not None


async def test_without_reading_live_events_alone_tell_the_end(
    workshop: Stack, proxy: FaultyProxy, user: User, polling: Client, hand: Hand
) -> None:
    created = await create(workshop, user)
    job = await hand.claim(created.id)
    viewer = Viewer(polling, created.id)
    await until(lambda: viewer.joined and viewer.told)
    proxy.refuse("rest")
    await job.report("transcribing", 33, words=["live"])
    await until(lambda: viewer.words == ["live"])
    await job.complete("all of it")
    done = await viewer.end(20)
    assert done.results[0].content == "all of it"


async def test_an_end_too_large_for_a_broadcast_waits_until_it_can_be_read(
    workshop: Stack, proxy: FaultyProxy, user: User, quiet: Client, hand: Hand
) -> None:
    created = await create(workshop, user)
    job = await hand.claim(created.id)
    viewer = Viewer(quiet, created.id)
    await until(lambda: viewer.joined and viewer.told)
    proxy.refuse("rest")
    content = "long " * 60_000
    await job.complete(content)
    await until(lambda: quiet.diagnostics().read_failures_in_a_row >= 2)
    proxy.heal()
    done = await viewer.end(30)
    assert done.results[0].content == content


async def test_a_subscription_hears_of_trouble_and_of_the_way_out(
    workshop: Stack, proxy: FaultyProxy, user: User, polling: Client, hand: Hand
) -> None:
    created = await create(workshop, user)
    job = await hand.claim(created.id)
    heard: list[str] = []
    errors: list[Exception] = []
    subscription = await polling.subscribe(
        created.id,
        on_progress=lambda update: heard.append(update.status),
        on_completed=lambda _: heard.append("completed"),
        on_error=errors.append,
        on_connected=lambda: heard.append("connected"),
        on_disconnected=lambda: heard.append("disconnected"),
    )
    await until(lambda: "transcribing" in heard or "pending" in heard)
    proxy.refuse()
    await until(lambda: "disconnected" in heard)
    await until(lambda: errors)
    proxy.heal()
    await until(lambda: heard.count("connected") == 2, within_s=20)
    await job.complete()
    await asyncio.wait_for(subscription.wait_closed(), 20)
    assert heard[-1] == "completed"
    assert all(isinstance(error, Unavailable) for error in errors)
    assert subscription.closed

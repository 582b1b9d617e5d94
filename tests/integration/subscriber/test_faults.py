"""A watch comes through when one of its two ways, live events and reading, is shut; and it ends when both are."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
from faults import system_error, told
from hands import Hand
from proxies import FaultyProxy
from stacks import Stack, User, sign_up
from viewer import Viewer
from waiting import until

from smelt.backend.project import Project
from smelt.backend.realtime import Pace
from smelt.contract.channels import smelt_channel
from smelt.contract.state import Created
from smelt.errors import NotFound, Unauthorized, Unavailable
from smelt.subscriber.client import Client, connect

GREETING = Path(__file__).parents[2] / "recordings" / "greeting.ogg"


@pytest.fixture
async def quiet(workshop: Stack, proxy: FaultyProxy, user: User) -> AsyncIterator[Client]:
    """A client behind the proxy that does not poll."""
    async with connect(proxy.url, workshop.anon_key, user.access_token, polling=False) as client:
        yield client


@pytest.fixture
async def polling(workshop: Stack, proxy: FaultyProxy, user: User) -> AsyncIterator[Client]:
    """A client behind the proxy that polls."""
    async with connect(proxy.url, workshop.anon_key, user.access_token) as client:
        yield client


async def create(workshop: Stack, user: User) -> Created:
    async with connect(workshop.api_url, workshop.anon_key, user.access_token) as client:
        return await client.create(files=[GREETING])


async def test_without_realtime_polling_alone_tells_the_end(
    workshop: Stack, proxy: FaultyProxy, user: User, polling: Client, hand: Hand
) -> None:
    proxy.refuse("realtime")
    created = await create(workshop, user)
    job = await hand.claim(created.id)
    viewer = Viewer(polling, created.id)
    await job.report("transcribing", 33, words=["polled"])
    await until(lambda: viewer.words == ["polled"], within_s=30)
    await job.complete()
    await viewer.end()
    assert polling.diagnostics().connection.reconnect_count == 0
    assert polling.diagnostics().connection.last_error is not None


async def test_a_socket_that_falls_silent_is_doubted_and_read_around_before_it_is_given_up(
    workshop: Stack, proxy: FaultyProxy, user: User, hand: Hand
) -> None:
    created = await create(workshop, user)
    job = await hand.claim(created.id)
    pace = Pace(heartbeat_s=0.4, answer_s=8)
    async with (
        Client(Project(proxy.url, workshop.anon_key, access_token=user.access_token, pace=pace)) as polling,
        Client(
            Project(proxy.url, workshop.anon_key, access_token=user.access_token, pace=pace), polling=False
        ) as quiet,
    ):
        reader, listener = Viewer(polling, created.id), Viewer(quiet, created.id)
        await until(lambda: all(viewer.joined and viewer.told for viewer in (reader, listener)))
        assert polling.diagnostics().read_count == 1
        proxy.bury("realtime")
        await job.report("transcribing", 33, words=["read"])
        await until(lambda: reader.words == ["read"])
        assert (reader.joined, reader.rejoin_count) == (True, 0)
        assert listener.words == []
        for viewer in (reader, listener):
            await viewer.stop()


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
    done = await viewer.end()
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
    done = await viewer.end()
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


async def test_a_watch_that_is_no_longer_allowed_ends_with_a_typed_error(
    workshop: Stack, proxy: FaultyProxy, user: User, quiet: Client, polling: Client
) -> None:
    created = await create(workshop, user)
    listener, reader = Viewer(quiet, created.id), Viewer(polling, created.id)
    await until(lambda: all(viewer.joined and viewer.told for viewer in (listener, reader)))
    async with await psycopg.AsyncConnection.connect(workshop.db_url) as connection:
        owner = "update public.smelts set user_id = %s where id = %s"
        await connection.execute(owner, (sign_up(workshop).id, created.id))
    topic = smelt_channel(str(created.id))
    refusal = system_error(f"You do not have permissions to read from this Channel topic: {topic}")
    async with told(refusal, ("phx_close", {}))(proxy, [topic]):
        with pytest.raises(Unauthorized):
            await listener.end()
        with pytest.raises(NotFound):
            await reader.end()
    assert quiet.diagnostics().watches == polling.diagnostics().watches == ()

"""A user is told of every end once: the unread first, then what comes, without a gap between the two."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from hands import Hand
from proxies import FaultyProxy
from stacks import Stack, User, sign_up
from waiting import until

from smelt.backend.project import Project
from smelt.backend.realtime import Pace
from smelt.contract.rows import Notification
from smelt.errors import Unauthorized
from smelt.subscriber.client import Client, connect
from smelt.subscriber.notifications import Notifications

BRISK = Pace(heartbeat_s=0.3, answer_s=0.5)


class Reader:
    """Takes every notification as it comes."""

    def __init__(self, notifications: Notifications) -> None:
        self.told: list[Notification] = []
        self._notifications = notifications
        self._task = asyncio.create_task(self._take())

    @property
    def smelts(self) -> list[UUID | None]:
        return [one.smelt_id for one in self.told]

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _take(self) -> None:
        async for one in self._notifications:
            self.told += [one]


@pytest.fixture
async def quiet(workshop: Stack, proxy: FaultyProxy, user: User) -> AsyncIterator[Client]:
    """A client behind the proxy that does not poll."""
    async with Client(
        Project(proxy.url, workshop.anon_key, access_token=user.access_token, pace=BRISK), polling=False
    ) as client:
        yield client


async def ended(client: Client, hand: Hand) -> UUID:
    """A smelt that has ended, and whose end was told."""
    created = await client.create(text="Ship it on Monday.")
    await (await hand.claim(created.id)).complete()
    return created.id


async def test_unread_ones_come_first_then_live_ones_each_once(client: Client, quiet: Client, hand: Hand) -> None:
    before = [await ended(client, hand) for _ in range(2)]
    async with quiet.notifications() as notifications:
        reader = Reader(notifications)
        between = [await ended(client, hand) for _ in range(3)]
        await until(lambda: len(reader.told) == 5)
        assert reader.smelts[:2] == before
        assert set(reader.smelts[2:]) == set(between)
        after = await ended(client, hand)
        await until(lambda: len(reader.told) == 6)
        assert reader.smelts[-1] == after
        assert {one.type for one in reader.told} == {"smelt_completed"}
        await reader.stop()
    assert quiet.diagnostics().connection.channel_count == 0


async def test_what_came_while_the_socket_was_cut_is_told_after_it_once(
    client: Client, quiet: Client, proxy: FaultyProxy, hand: Hand
) -> None:
    async with quiet.notifications() as notifications:
        reader = Reader(notifications)
        first = await ended(client, hand)
        await until(lambda: reader.smelts == [first])
        proxy.refuse("realtime")
        await until(lambda: quiet.diagnostics().connection.joined_count == 0)
        missed = await ended(client, hand)
        proxy.heal()
        await until(lambda: reader.smelts == [first, missed], within_s=20)
        last = await ended(client, hand)
        await until(lambda: reader.smelts == [first, missed, last])
        await reader.stop()


async def test_seen_and_read_are_marked_apart_and_what_is_read_comes_no_more(client: Client, hand: Hand) -> None:
    for _ in range(2):
        await ended(client, hand)
    async with client.notifications() as notifications:
        first, second = await anext(notifications), await anext(notifications)
        assert await notifications.mark_seen(first.id, second.id) == 2
        assert await notifications.mark_seen(first.id, second.id) == 0
        assert await notifications.mark_read(str(first.id)) == 1
        assert await notifications.mark_read() == 0
    async with client.notifications() as notifications:
        again = await anext(notifications)
        assert again.id == second.id
        assert again.seen_at is not None
        assert again.read_at is None


async def test_nobody_marks_or_hears_those_of_others(workshop: Stack, client: Client, hand: Hand) -> None:
    await ended(client, hand)
    other = sign_up(workshop)
    async with connect(workshop.api_url, workshop.anon_key, other.access_token) as stranger:
        async with client.notifications() as notifications:
            mine = await anext(notifications)
        async with stranger.notifications() as notifications:
            assert await notifications.mark_read(mine.id) == 0
            reader = Reader(notifications)
            await until(lambda: stranger.diagnostics().connection.joined_count == 1)
            own = await ended(stranger, hand)
            await until(lambda: reader.told)
            assert reader.smelts == [own]
            await reader.stop()


async def test_without_realtime_notifications_are_read(
    workshop: Stack, client: Client, proxy: FaultyProxy, user: User, hand: Hand
) -> None:
    proxy.refuse("realtime")
    async with (
        connect(proxy.url, workshop.anon_key, user.access_token) as cut_off,
        cut_off.notifications() as notifications,
    ):
        reader = Reader(notifications)
        first = await ended(client, hand)
        await until(lambda: reader.smelts == [first], within_s=20)
        second = await ended(client, hand)
        await until(lambda: reader.smelts == [first, second], within_s=20)
        await reader.stop()


async def test_notifications_are_for_those_who_are_signed_in(workshop: Stack) -> None:
    async with connect(workshop.api_url, workshop.anon_key) as visitor:
        with pytest.raises(Unauthorized):
            await visitor.notifications().__aenter__()

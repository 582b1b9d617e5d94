"""A user is told of every end once: the unread first, then what comes, without a gap between the two."""

from uuid import UUID

import pytest
from hands import Hand
from proxies import FaultyProxy
from stacks import Stack, sign_up
from taking import taking
from waiting import until

from smelt.contract.rows import Notification
from smelt.errors import Unauthorized
from smelt.subscriber.client import Client, connect


def smelts(told: list[Notification]) -> list[UUID | None]:
    return [one.smelt_id for one in told]


async def ended(client: Client, hand: Hand) -> UUID:
    """A smelt that has ended, and whose end was told."""
    created = await client.create(text="Ship it on Monday.")
    await (await hand.claim(created.id)).complete()
    return created.id


async def test_unread_ones_come_first_then_live_ones_each_once(client: Client, quiet: Client, hand: Hand) -> None:
    before = [await ended(client, hand) for _ in range(2)]
    async with quiet.notifications() as notifications, taking(notifications) as told:
        between = [await ended(client, hand) for _ in range(3)]
        await until(lambda: len(told) == 5)
        assert smelts(told)[:2] == before
        assert set(smelts(told)[2:]) == set(between)
        after = await ended(client, hand)
        await until(lambda: len(told) == 6)
        assert smelts(told)[-1] == after
        assert {one.type for one in told} == {"smelt_completed"}
    assert quiet.diagnostics().connection.channel_count == 0


async def test_what_came_while_the_socket_was_cut_is_told_after_it_once(
    client: Client, quiet: Client, proxy: FaultyProxy, hand: Hand
) -> None:
    async with quiet.notifications() as notifications, taking(notifications) as told:
        first = await ended(client, hand)
        await until(lambda: smelts(told) == [first])
        proxy.refuse("realtime")
        await until(lambda: quiet.diagnostics().connection.joined_count == 0)
        missed = await ended(client, hand)
        proxy.heal()
        await until(lambda: smelts(told) == [first, missed], within_s=20)
        last = await ended(client, hand)
        await until(lambda: smelts(told) == [first, missed, last])


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
        async with stranger.notifications() as notifications, taking(notifications) as told:
            assert await notifications.mark_read(mine.id) == 0
            await until(lambda: stranger.diagnostics().connection.joined_count == 1)
            own = await ended(stranger, hand)
            await until(lambda: told)
            assert smelts(told) == [own]


async def test_notifications_are_for_those_who_are_signed_in(workshop: Stack) -> None:
    async with connect(workshop.api_url, workshop.anon_key) as visitor:
        with pytest.raises(Unauthorized):
            await visitor.notifications().__aenter__()

"""Notifications are delivered once each: first the unread ones, then new ones, without a gap in between."""

from uuid import UUID

import pytest

from smelt.contract.rows import Notification
from smelt.errors import Unauthorized
from smelt.subscriber.client import Client, connect
from tests.harness.proxies import FaultyProxy
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import Stack, sign_up
from tests.harness.waiting import until
from tests.integration.subscriber.collect import collect


def smelts(received: list[Notification]) -> list[UUID | None]:
    return [one.smelt_id for one in received]


async def ended(client: Client, scripted_worker: ScriptedWorker) -> UUID:
    """Return a smelt that has ended and whose end was broadcast."""
    created = await client.create(text="Ship it on Monday.")
    await (await scripted_worker.claim(created.id)).complete()
    return created.id


async def test_notifications_deliver_unread_first_then_live_ones_once(
    client: Client, live_only_client: Client, scripted_worker: ScriptedWorker
) -> None:
    before = [await ended(client, scripted_worker) for _ in range(2)]
    async with live_only_client.notifications() as notifications, collect(notifications) as received:
        between = [await ended(client, scripted_worker) for _ in range(3)]
        await until(lambda: len(received) == 5)
        assert smelts(received)[:2] == before
        assert set(smelts(received)[2:]) == set(between)
        after = await ended(client, scripted_worker)
        await until(lambda: len(received) == 6)
        assert smelts(received)[-1] == after
        assert {one.type for one in received} == {"smelt_completed"}
    assert live_only_client.diagnostics().connection.channel_count == 0


async def test_notifications_after_a_reconnect_include_missed_ones_once(
    client: Client, live_only_client: Client, proxy: FaultyProxy, scripted_worker: ScriptedWorker
) -> None:
    async with live_only_client.notifications() as notifications, collect(notifications) as received:
        first = await ended(client, scripted_worker)
        await until(lambda: smelts(received) == [first])
        proxy.reject("realtime")
        await until(lambda: live_only_client.diagnostics().connection.joined_count == 0)
        missed = await ended(client, scripted_worker)
        proxy.heal()
        await until(lambda: smelts(received) == [first, missed], timeout_s=20)
        last = await ended(client, scripted_worker)
        await until(lambda: smelts(received) == [first, missed, last])


async def test_notifications_are_marked_as_seen_and_read_separately(
    client: Client, scripted_worker: ScriptedWorker
) -> None:
    for _ in range(2):
        await ended(client, scripted_worker)
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


async def test_notifications_of_another_user_cannot_be_read_or_marked(
    shared_stack: Stack, client: Client, scripted_worker: ScriptedWorker
) -> None:
    await ended(client, scripted_worker)
    other = sign_up(shared_stack)
    async with connect(shared_stack.api_url, shared_stack.anon_key, other.access_token) as other_client:
        async with client.notifications() as notifications:
            mine = await anext(notifications)
        async with other_client.notifications() as notifications, collect(notifications) as received:
            assert await notifications.mark_read(mine.id) == 0
            await until(lambda: other_client.diagnostics().connection.joined_count == 1)
            own = await ended(other_client, scripted_worker)
            await until(lambda: received)
            assert smelts(received) == [own]


async def test_notifications_require_a_signed_in_user(shared_stack: Stack) -> None:
    async with connect(shared_stack.api_url, shared_stack.anon_key) as visitor:
        with pytest.raises(Unauthorized):
            await visitor.notifications().__aenter__()

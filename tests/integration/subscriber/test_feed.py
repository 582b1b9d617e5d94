"""A feed delivers the changes of all rows that a user owns, and none of others."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from smelt.errors import PermanentError, Unauthorized
from smelt.subscriber.client import Client, connect
from smelt.subscriber.feed import Feed
from smelt.subscriber.mirror import CacheKey, FeedChange, SmeltChange
from tests.harness.proxies import FaultyProxy
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import Stack, User, sign_up
from tests.harness.waiting import until
from tests.integration.subscriber.collect import collect


def kinds(items: list[FeedChange], row_id: object) -> list[str]:
    return [change.kind for change in items if change.row.id == row_id]


async def drain(updates: AsyncIterator[object]) -> None:
    async for _ in updates:
        pass


def is_live(feed: Feed) -> bool:
    return all(family.freshness == "live" and family.read_age_s is not None for family in feed.report())


async def test_feed_delivers_existing_rows_first_then_every_change(
    client: Client, scripted_worker: ScriptedWorker
) -> None:
    existing = await client.create(text="Ship it on Monday.")
    async with client.feed() as feed, collect(feed) as items:
        await until(lambda: is_live(feed))
        assert kinds(items, existing.id) == kinds(items, existing.files[0].id) == ["insert"]
        created = await client.create(text="Ship it on Tuesday.")
        await until(lambda: created.id in feed.smelts and created.files[0].id in feed.files)
        job = await scripted_worker.claim(created.id)
        await job.report("synthesizing", 80, broadcast=False)
        await until(lambda: feed.smelts[created.id].percentage == 80)
        await job.complete(broadcast=False)
        await until(lambda: feed.smelts[created.id].status == "completed")
        await until(lambda: feed.files[created.files[0].id].status == "completed")
        await client.delete(created.id)
        await until(lambda: kinds(items, created.id)[-1:] == ["delete"])
        await until(lambda: kinds(items, created.files[0].id)[-1:] == ["delete"])
        seqs = [one.row.seq for one in items if isinstance(one, SmeltChange) and one.row.id == created.id]
        assert seqs == sorted(seqs)
        assert kinds(items, created.id)[0] == "insert"
        assert existing.id in feed.smelts


async def test_feed_contains_no_rows_of_other_users(shared_stack: Stack, client: Client) -> None:
    other = sign_up(shared_stack)
    async with (
        connect(shared_stack.api_url, shared_stack.anon_key, other.access_token) as other_client,
        client.feed() as feed,
        collect(feed) as items,
    ):
        await until(lambda: is_live(feed))
        foreign = await other_client.create(text="Of another user.")
        await other_client.delete(foreign.id)
        own = await client.create(text="Ship it on Monday.")
        await until(lambda: own.id in feed.smelts)
        assert {change.row.id for change in items} <= {own.id, own.files[0].id}


async def test_feed_after_a_reconnect_delivers_missed_changes(
    client: Client, live_only_client: Client, proxy: FaultyProxy
) -> None:
    deleted, kept = [await client.create(text=text) for text in ("One", "Two")]
    async with live_only_client.feed() as feed, collect(feed) as items:
        await until(lambda: is_live(feed) and len(feed.smelts) == 2)
        proxy.reject("realtime")
        await until(lambda: not is_live(feed))
        await client.delete(deleted.id)
        await client.cancel(kept.id)
        new = await client.create(text="Three")
        proxy.heal()
        await until(lambda: new.id in feed.smelts, timeout_s=20)
        assert kinds(items, deleted.id) == ["insert", "delete"]
        assert kinds(items, kept.id) == ["insert", "update"]
        assert feed.smelts[kept.id].error_code == "cancelled"


async def test_polling_delivers_rows_and_notifications_without_realtime(
    shared_stack: Stack, proxy: FaultyProxy, user: User
) -> None:
    proxy.reject("realtime")
    async with (
        connect(proxy.url, shared_stack.anon_key, user.access_token) as client,
        client.feed() as feed,
        client.notifications() as notifications,
        collect(notifications) as items,
    ):
        first = await client.create(text="One")
        await until(lambda: first.id in feed.smelts, timeout_s=30)
        await client.cancel(first.id)
        await until(lambda: feed.smelts[first.id].status == "failed", timeout_s=60)
        await until(lambda: [one.smelt_id for one in items] == [first.id], timeout_s=60)


async def test_feed_invalidation_callbacks_get_the_cache_keys(client: Client, scripted_worker: ScriptedWorker) -> None:
    invalidated: list[frozenset[CacheKey]] = []

    def fail(_: frozenset[CacheKey]) -> None:
        raise ValueError("a callback that fails stops no other")

    async with client.feed(on_invalidate=fail) as feed:
        feed.on_invalidate(lambda keys: invalidated.append(keys))
        await until(lambda: is_live(feed))
        created = await client.create(text="Ship it on Monday.")
        await until(
            lambda: (
                invalidated
                and {CacheKey("smelt", created.id), CacheKey("smelts"), CacheKey("counts")}
                <= invalidated[0] | invalidated[-1]
            )
        )
        await until(lambda: created.files[0].id in feed.files)
        invalidated.clear()
        job = await scripted_worker.claim(created.id)
        await job.report("synthesizing", 80)
        await until(lambda: any(CacheKey("smelt", created.id) in keys for keys in invalidated))
        assert all(family.changed_age_s is not None for family in feed.report())


async def test_feed_coalesces_changes_of_a_row_for_a_slow_consumer(
    client: Client, scripted_worker: ScriptedWorker
) -> None:
    async with client.feed() as feed:
        await until(lambda: is_live(feed))
        created = await client.create(text="Ship it on Monday.")
        job = await scripted_worker.claim(created.id)
        for percentage in (72, 80, 90):
            await job.report("synthesizing", percentage, broadcast=False)
        await until(lambda: created.id in feed.smelts and feed.smelts[created.id].percentage == 90)
        async with collect(feed) as items:
            await until(lambda: kinds(items, created.id))
        assert kinds(items, created.id) == ["insert"]


async def test_feed_requires_a_signed_in_user_and_an_open_context(shared_stack: Stack, user: User) -> None:
    async with connect(shared_stack.api_url, shared_stack.anon_key) as visitor:
        with pytest.raises(Unauthorized):
            await visitor.feed().__aenter__()
    async with connect(shared_stack.api_url, shared_stack.anon_key, user.access_token) as client:
        feed = client.feed()
        with pytest.raises(PermanentError):
            await anext(feed)
        async with feed:
            pass
        with pytest.raises(PermanentError):
            await anext(feed)
        assert client.diagnostics().connection.channel_count == 0


@pytest.mark.parametrize("polling", [True, False])
async def test_close_ends_pending_feed_notifications_and_batch_watch(
    shared_stack: Stack, user: User, polling: bool
) -> None:
    client = connect(shared_stack.api_url, shared_stack.anon_key, user.access_token, polling=polling)
    batch = await client.create_batch()
    async with client.feed() as feed, client.notifications() as notifications:
        waiting = [asyncio.ensure_future(anext(one)) for one in (feed, notifications)]
        waiting += [asyncio.create_task(drain(client.watch_batch(batch.id)))]
        await until(lambda: client.diagnostics().connection.joined_count == 3)
        await client.aclose()
        errors = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 30)
        assert [type(error) for error in errors] == [PermanentError, PermanentError, PermanentError]

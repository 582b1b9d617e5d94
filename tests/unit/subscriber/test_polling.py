"""Polling is slow while live events arrive, and causes few requests."""

import asyncio
import random
import time
from dataclasses import replace
from itertools import pairwise
from typing import Literal
from uuid import UUID

import pytest

from smelt.subscriber.client import Client
from smelt.subscriber.reader import SMELTS_PER_CALL
from smelt.subscriber.updates import Completed, Progress, Segments, Update
from tests.harness.followers import Follower, feed, notifications, watch, watch_batch
from tests.harness.histories import (
    FILES,
    SMELT,
    History,
    Row,
    Step,
    end_event,
    progress_event,
    segment_indexes,
    segments_event,
)
from tests.harness.simulated_clock import simulate
from tests.unit.subscriber.simulation import BATCH, Server, SimulatedProject, file_row, smelt_row, wait_until

HOUR_S = 3600.0


def long_history(steps: int) -> History:
    """Return a history of many steps, each with one segment and a little progress."""
    updates = [Step(Row(), None)]
    segments: dict[tuple[UUID, int], int] = {}
    for number in range(steps):
        seq = 2 + number
        segments |= {(FILES[0], number): seq}
        row = Row(seq=seq, status="transcribing", percentage=20 + 50 * number / steps, segments=dict(segments))
        updates += [Step(row, progress_event(row)), Step(row, segments_event(row, FILES[0], range(number, number + 1)))]
    end = Row(seq=3 + steps, status="completed", percentage=100, segments=segments)
    return History((*updates, Step(end, end_event(end))))


async def updates_of(server: Server, history: History, pause_s: float = 0, *, polling: bool = True) -> list[Update]:
    """Return the updates of a smelt of an hour that a consumer with `pause_s` between updates receives."""
    server.begin([history])
    updates: list[Update] = []
    async with Client(SimulatedProject(server), polling=polling) as client:
        playing = asyncio.create_task(server.play(history, 2 * HOUR_S / len(history.steps)))
        async for update in client.watch(SMELT):
            updates += [update]
            now = server.states[SMELT]
            # The newest change may not have arrived yet.
            assert not isinstance(update, Progress) or now.is_terminal or update.seq >= now.seq - 1
            await asyncio.sleep(pause_s)
        await playing
    return updates


def test_polling_interval_of_a_healthy_watch_is_at_minimum_30_s() -> None:
    server = Server(random.Random(0))
    updates = simulate(updates_of(server, long_history(600)), seed=0)
    assert isinstance(updates[-1], Completed)
    # The first read does not wait for the channel, the second follows the join, and the last one fills possible gaps.
    _, *polls, _ = server.requests
    gaps_s = [after - before for before, after in pairwise(polls)]
    assert min(gaps_s) >= 30
    assert max(gaps_s) > min(gaps_s) + 5  # Jitter separates clients that started at the same time.
    assert len(polls) > 80


def test_polling_interval_without_events_is_10_to_15_s_while_joined_and_active() -> None:
    server = Server(random.Random(0))
    silent = History(tuple(replace(step, event=None) for step in long_history(600).steps))
    updates = simulate(updates_of(server, silent), seed=0)
    assert isinstance(updates[-1], Completed)
    # The first reads and the last one have other reasons; the smelt is pending at first.
    gaps_s = [after - before for before, after in pairwise(server.requests[3:-1])]
    assert min(gaps_s) >= 10
    assert max(gaps_s) <= 15 + 1  # The response takes up to a second.
    assert max(gaps_s) > min(gaps_s) + 2


def test_live_events_alone_complete_a_watch_without_polling() -> None:
    server = Server(random.Random(0))
    updates = simulate(updates_of(server, long_history(600), polling=False), seed=0)
    assert isinstance(updates[-1], Completed)
    assert len(server.requests) == 2  # After the join, and before the end is emitted.
    assert len([update for update in updates if isinstance(update, Progress)]) > 600


def test_slow_consumer_gets_the_newest_progress_and_every_segment() -> None:
    server = Server(random.Random(0))
    updates = simulate(updates_of(server, long_history(1200), pause_s=10), seed=0)
    assert segment_indexes(updates, 1) == {FILES[0]: list(range(1200))}
    assert len([update for update in updates if isinstance(update, Progress)]) < 0.5 * 1200
    assert max(len(update.segments) for update in updates if isinstance(update, Segments)) > 1


@pytest.mark.parametrize(
    ("rest", "next_poll_s", "min_count", "max_count"), [("up", 25.0, 20, 25), ("rejecting", 2.0, 20, 60)]
)
def test_polling_slows_down_on_server_request_and_on_errors(
    rest: Literal["up", "rejecting"], next_poll_s: float, min_count: int, max_count: int
) -> None:
    server = Server(random.Random(0))
    server.realtime_is_up, server.next_poll_s = False, next_poll_s
    server.begin([History((Step(Row(), None),))])

    async def follow() -> int:
        async with Client(SimulatedProject(server)) as client:
            watch = client.watch(SMELT)
            await anext(watch)
            server.rest = rest
            await asyncio.sleep(60)
            since = len(server.requests)
            await asyncio.sleep(600)
            await watch.aclose()
            return len(server.requests) - since

    assert min_count <= simulate(follow(), seed=0) <= max_count


def test_smelts_that_are_too_long_for_one_read_are_read_in_several() -> None:
    """Of more than 20 ended smelts with long transcripts together, each read times out."""
    server = Server(random.Random(0))
    server.realtime_is_up, server.max_smelts_per_read = False, 20
    ends = [Row(id=UUID(int=1000 + number), seq=2, status="completed") for number in range(SMELTS_PER_CALL)]
    server.begin([History((Step(end, None),)) for end in ends])

    async def follow() -> None:
        async with Client(SimulatedProject(server)) as client:
            following = [asyncio.create_task(watch(client, smelt_id, BATCH)) for smelt_id in server.states]
            _, waiting = await asyncio.wait(following, timeout=300)
            assert not waiting

    simulate(follow(), seed=0)


def test_reads_of_other_watches_continue_after_a_failed_read_of_a_closed_watch() -> None:
    server = Server(random.Random(0))
    smelt_ids = [UUID(int=1000), UUID(int=1001)]
    server.begin([History((Step(Row(id=smelt_id), None),)) for smelt_id in smelt_ids])

    async def follow() -> bool:
        async with Client(SimulatedProject(server), polling=False) as client:
            leaving, staying = [client.watch(smelt_id) for smelt_id in smelt_ids]
            await anext(leaving)
            await anext(staying)
            await asyncio.sleep(60)
            server.rest = "rejecting"
            server.channels[0].disconnect()
            since = len(server.requests)
            await wait_until(lambda: len(server.requests) > since)
            await leaving.aclose()
            server.rest = "up"
            since = len(server.requests)
            server.channels[0].disconnect()
            await asyncio.sleep(60)
            await staying.aclose()
            return len(server.requests) > since

    assert simulate(follow(), seed=0)


@pytest.mark.parametrize("follower", [watch, watch_batch, feed, notifications])
@pytest.mark.parametrize(("fault", "max_wait_s"), [("disconnect", 6.25), ("suspect", 1.0)])
def test_polling_is_fast_once_live_events_may_be_lost(follower: Follower, fault: str, max_wait_s: float) -> None:
    server = Server(random.Random(0))
    server.begin([History((Step(Row(), None),))])

    async def wait_after_fault() -> float:
        async with Client(SimulatedProject(server)) as client:
            following = asyncio.create_task(follower(client, SMELT, BATCH))
            await asyncio.sleep(60)
            since = len(server.requests)
            await wait_until(lambda: len(server.requests) > since)
            await asyncio.sleep(5)  # The next poll of a joined channel is due in 25 s or more.
            since, began_s = len(server.requests), time.monotonic()
            server.realtime_is_up = False
            for channel in list(server.channels):
                getattr(channel, fault)()
            await wait_until(lambda: len(server.requests) > since)
            following.cancel()
            await asyncio.wait([following])
            return server.requests[since] - began_s

    assert simulate(wait_after_fault(), seed=0) <= max_wait_s


@pytest.mark.parametrize("count", [1, SMELTS_PER_CALL, 1000])
def test_polling_of_many_watches_is_limited_to_one_request_per_second(count: int) -> None:
    server = Server(random.Random(0))
    server.realtime_is_up = False
    server.begin([History((Step(Row(id=UUID(int=1000 + number)), None),)) for number in range(count)])

    async def follow() -> None:
        async with Client(SimulatedProject(server)) as client:
            watches = [client.watch(smelt_id) for smelt_id in server.states]
            watching = [asyncio.create_task(anext(watch)) for watch in watches]
            await asyncio.wait(watching)
            since = len(server.requests)
            await asyncio.sleep(60)
            ages_s = [report.last_read_age_s for report in client.diagnostics().watches]
            # Each watch was read within the longest polling interval plus the time of one pass over all watches.
            assert len(ages_s) == count
            assert max(age for age in ages_s if age is not None) < 8 + count / SMELTS_PER_CALL
            gaps = [after - before for before, after in pairwise(server.requests[since:])]
            assert min(gaps) >= 1
            assert len(gaps) >= 8
            for watch in watches:
                await watch.aclose()
        await wait_until(lambda: len(asyncio.all_tasks()) == 1)

    simulate(follow(), seed=0)


def test_feed_reconciles_all_rows_every_five_minutes() -> None:
    server = Server(random.Random(0))

    async def follow() -> int:
        async with Client(SimulatedProject(server)) as client, client.feed():
            await asyncio.sleep(60)
            since = len(server.requests)
            await asyncio.sleep(HOUR_S)
            return len(server.requests) - since

    tables = 2
    assert 9 * tables <= simulate(follow(), seed=0) <= 12 * tables


@pytest.mark.parametrize("polling", [True, False])
def test_feed_has_the_newest_file_although_it_changes_during_the_read_after_a_join(polling: bool) -> None:
    file = file_row(FILES[0], SMELT, "processing")

    async def follow(server: Server) -> str:
        server.put("smelts", smelt_row(SMELT, 1, "transcribing"))
        server.put("smelt_files", file)
        async with Client(SimulatedProject(server), polling=polling) as client, client.feed() as feed:
            await feed.loaded()
            [channel] = server.channels
            channel.disconnect()
            server.put("smelts", smelt_row(SMELT, 2, "transcribing"))
            await wait_until(lambda: channel.joined)
            await asyncio.sleep(server.chance.uniform(0, 2))  # Until the end of the read, at the latest.
            server.put("smelt_files", {**file, "status": "completed"})
            await asyncio.sleep(20)
            return feed.files[FILES[0]].status

    assert {simulate(follow(Server(random.Random(seed))), seed) for seed in range(100)} == {"completed"}


@pytest.mark.parametrize("polling", [True, False])
def test_feed_reads_when_its_channel_is_suspect_only_if_polling(polling: bool) -> None:
    server = Server(random.Random(0))

    async def follow() -> bool:
        async with Client(SimulatedProject(server), polling=polling) as client, client.feed():
            await asyncio.sleep(60)
            since = len(server.requests)
            server.channels[0].suspect()
            await asyncio.sleep(60)
            return len(server.requests) > since

    assert simulate(follow(), seed=0) == polling

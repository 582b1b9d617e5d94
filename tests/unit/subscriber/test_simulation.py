"""A client lives through random faults, by the hour, and everybody who follows something is told all of it."""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from uuid import UUID

import pytest
from following import FOLLOWINGS, Following
from interrupting import interrupt_everywhere
from simulation import BATCH, Server, SimulatedProject, held, simulate, smelt_row, within
from stories import SMELT, assert_ended, assert_never_back, assert_told_whole, tell_story
from told import Told

from smelt.contract.rows import SmeltRow
from smelt.subscriber.client import Client

SCHEDULES = 1000
AT_A_TIME = 100
FAULTS = ["realtime", "cut", "rest", "noise"]
UNREST_S = 120.0
LONG_S = 1200.0


@pytest.mark.parametrize("first", range(0, SCHEDULES, AT_A_TIME))
def test_random_faults_lose_nothing(first: int) -> None:
    for seed in range(first, first + AT_A_TIME):
        simulate(live(seed), seed)


async def live(seed: int) -> None:
    chance = random.Random(seed)
    polling = seed % 4 != 0
    server = Server(chance)
    smelts = {UUID(int=100 + number): tell_story(chance, UUID(int=100 + number)) for number in range(2)}
    server.begin(list(smelts.values()))
    told = Told(lambda: chance.choice([0, 0, 10]))
    async with Client(SimulatedProject(server), polling=polling) as client:
        faults = chance.sample(FAULTS, chance.randint(1, len(FAULTS)))
        unrest = asyncio.create_task(break_things(server, chance, faults, lossy=polling))
        playing = [asyncio.create_task(server.play(story, 10)) for story in smelts.values()]
        watching = [asyncio.create_task(told.watch(client, smelt_id)) for smelt_id in smelts]
        watching += [asyncio.create_task(told.watch_batch(client, BATCH))]
        owning = [asyncio.create_task(told.follow_all(client)), asyncio.create_task(told.hear(client))]
        await within(LONG_S, asyncio.gather(*playing, clutter(server, chance), unrest))
        await within(LONG_S, asyncio.gather(*watching))
        await within(
            LONG_S,
            held(lambda: told.rows == rows_of(server) and {one.id for one in told.notifications} == ids_of(server)),
        )
        for task in owning:
            task.cancel()
        await asyncio.wait(owning)
    assert server.channels == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
    for smelt_id, story in smelts.items():
        # An end does not wait for a transcript that can't be read.
        check = assert_ended if "rest" in faults else assert_told_whole
        check(story, told.updates[smelt_id])
        assert_never_back(story, told.updates[smelt_id])
    assert [one.seq for one in told.batch] == sorted({one.seq for one in told.batch})
    assert told.batch[-1].status == "completed"


def rows_of(server: Server) -> dict[UUID, SmeltRow]:
    return {row_id: SmeltRow.model_validate(row) for row_id, row in server.tables["smelts"].items()}


def ids_of(server: Server) -> set[UUID]:
    return set(server.tables["notifications"])


async def break_things(server: Server, chance: random.Random, faults: list[str], *, lossy: bool) -> None:
    """One fault after the other, for a while; then all is well. A healthy channel loses nothing unless it is lossy."""
    with suppress(TimeoutError):
        async with asyncio.timeout(UNREST_S):
            while True:
                match chance.choice([*faults, "heal"]):
                    case "realtime":
                        server.realtime_is_up = False
                        cut(server)
                    case "cut":
                        cut(server)
                    case "rest":
                        server.rest = chance.choice(["refused", "silent"])
                    case "noise":
                        server.copies = (0, 1, 2) if lossy else (1, 2)
                        server.delay_s = chance.choice([0.1, 8])
                    case _:
                        heal(server)
                await asyncio.sleep(chance.uniform(0, 25))
    heal(server)


def cut(server: Server) -> None:
    for channel in list(server.channels):
        channel.lose()


def heal(server: Server) -> None:
    server.realtime_is_up = True
    server.rest = "up"
    server.copies, server.delay_s = (1,), 0.1


async def clutter(server: Server, chance: random.Random) -> None:
    """Other smelts of the user come and go."""
    others = [UUID(int=500 + number) for number in range(3)]
    seqs: Counter[UUID] = Counter()
    for number in range(12):
        await asyncio.sleep(chance.uniform(0, 10))
        place = chance.randrange(len(others))
        smelt_id = others[place]
        if smelt_id in server.tables["smelts"] and chance.random() < 0.4:
            server.delete(smelt_id)
            others[place] = UUID(int=600 + number)
        else:
            seqs[smelt_id] += 1
            server.put("smelts", smelt_row(smelt_id, seqs[smelt_id], "pending"))


@pytest.mark.parametrize("stubborn", [False, True])
@pytest.mark.parametrize("following", FOLLOWINGS)
def test_whoever_follows_may_be_cancelled_wherever_they_wait(following: Following, stubborn: bool) -> None:
    async def cancel() -> int:
        server = Server(random.Random(0))
        async with Client(SimulatedProject(server)) as client:
            return await interrupt_everywhere(
                lambda: follow(server, client, following), lambda: nothing_left(server), stubborn=stubborn
            )

    assert simulate(cancel(), seed=1) > 1


@pytest.mark.parametrize("following", FOLLOWINGS)
def test_whoever_follows_may_be_cancelled_at_any_time(following: Following) -> None:
    async def cancel() -> None:
        server = Server(random.Random(0))
        async with Client(SimulatedProject(server)) as client:
            for step in range(200):
                task = asyncio.create_task(follow(server, client, following))
                await asyncio.wait([task], timeout=step / 10)
                task.cancel()
                await asyncio.wait([task])
                await nothing_left(server)
            assert not task.cancelled()

    simulate(cancel(), seed=2)


async def follow(server: Server, client: Client, following: Following) -> None:
    """Follow a smelt from its beginning."""
    story = tell_story(random.Random(5))
    server.begin([story])
    playing = asyncio.create_task(server.play(story, 1))
    try:
        await following(client, SMELT, BATCH)
    finally:
        playing.cancel()


async def nothing_left(server: Server) -> None:
    await held(lambda: len(asyncio.all_tasks()) == 1)
    assert server.channels == []

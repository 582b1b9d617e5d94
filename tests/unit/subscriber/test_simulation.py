"""Simulated hours of random faults, after which every follower has received all updates."""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from uuid import UUID

import pytest

from smelt.contract.rows import SmeltRow
from smelt.subscriber.client import Client
from tests.harness.cancellation import cancel_at_every_await
from tests.harness.followers import FOLLOWERS, Follower
from tests.harness.histories import SMELT, assert_complete, assert_ended, assert_monotonic, make_history
from tests.harness.recorder import Recorder
from tests.harness.simulated_clock import simulate
from tests.unit.subscriber.simulation import (
    BATCH,
    Server,
    SimulatedProject,
    smelt_row,
    wait_until,
    with_timeout,
)

SCHEDULES = 1000
SCHEDULES_PER_TEST = 100
FAULTS = ["realtime", "cut", "rest", "noise"]
FAULTS_S = 120.0
TIMEOUT_S = 1200.0


@pytest.mark.parametrize("first", range(0, SCHEDULES, SCHEDULES_PER_TEST))
def test_simulation_of_random_faults_loses_no_update(first: int) -> None:
    for seed in range(first, first + SCHEDULES_PER_TEST):
        simulate(run_schedule(seed), seed)


async def run_schedule(seed: int) -> None:
    chance = random.Random(seed)
    polling = seed % 4 != 0
    server = Server(chance)
    smelts = {UUID(int=100 + number): make_history(chance, UUID(int=100 + number)) for number in range(2)}
    server.begin(list(smelts.values()))
    recorder = Recorder(lambda: chance.choice([0, 0, 10]))
    async with Client(SimulatedProject(server), polling=polling) as client:
        faults = chance.sample(FAULTS, chance.randint(1, len(FAULTS)))
        injecting = asyncio.create_task(inject_faults(server, chance, faults, lossy=polling))
        playing = [asyncio.create_task(server.play(history, 10)) for history in smelts.values()]
        watching = [asyncio.create_task(recorder.watch(client, smelt_id)) for smelt_id in smelts]
        watching += [asyncio.create_task(recorder.watch_batch(client, BATCH))]
        owning = [
            asyncio.create_task(recorder.record_rows(client)),
            asyncio.create_task(recorder.record_notifications(client)),
        ]
        await with_timeout(TIMEOUT_S, asyncio.gather(*playing, change_other_smelts(server, chance), injecting))
        await with_timeout(TIMEOUT_S, asyncio.gather(*watching))
        await with_timeout(
            TIMEOUT_S,
            wait_until(
                lambda: (
                    recorder.rows == rows_of(server) and {one.id for one in recorder.notifications} == ids_of(server)
                )
            ),
        )
        for task in owning:
            task.cancel()
        await asyncio.wait(owning)
    assert server.channels == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
    for smelt_id, history in smelts.items():
        # An end does not wait for a transcript that cannot be read.
        check = assert_ended if "rest" in faults else assert_complete
        check(history, recorder.updates[smelt_id])
        assert_monotonic(history, recorder.updates[smelt_id])
    assert [one.seq for one in recorder.batch] == sorted({one.seq for one in recorder.batch})
    assert recorder.batch[-1].status == "completed"


def rows_of(server: Server) -> dict[UUID, SmeltRow]:
    return {row_id: SmeltRow.model_validate(row) for row_id, row in server.tables["smelts"].items()}


def ids_of(server: Server) -> set[UUID]:
    return set(server.tables["smelt_notifications"])


async def inject_faults(server: Server, chance: random.Random, faults: list[str], *, lossy: bool) -> None:
    """Inject random faults for a while, then end them; healthy channels lose broadcasts only if `lossy`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(FAULTS_S):
            while True:
                match chance.choice([*faults, "heal"]):
                    case "realtime":
                        server.realtime_is_up = False
                        cut(server)
                    case "cut":
                        cut(server)
                    case "rest":
                        server.rest = chance.choice(["rejecting", "silent"])
                    case "noise":
                        server.copies = (0, 1, 2) if lossy else (1, 2)
                        server.delay_s = chance.choice([0.1, 8])
                    case _:
                        heal(server)
                await asyncio.sleep(chance.uniform(0, 25))
    heal(server)


def cut(server: Server) -> None:
    for channel in list(server.channels):
        channel.disconnect()


def heal(server: Server) -> None:
    server.realtime_is_up = True
    server.rest = "up"
    server.copies, server.delay_s = (1,), 0.1


async def change_other_smelts(server: Server, chance: random.Random) -> None:
    """Insert, update and delete other smelts of the user."""
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


@pytest.mark.parametrize("repeatedly", [False, True])
@pytest.mark.parametrize("follower", FOLLOWERS)
def test_cancel_at_any_await_releases_every_channel(follower: Follower, repeatedly: bool) -> None:
    async def cancel() -> int:
        server = Server(random.Random(0))
        async with Client(SimulatedProject(server)) as client:
            return await cancel_at_every_await(
                lambda: follow(server, client, follower), lambda: assert_released(server), repeatedly=repeatedly
            )

    assert simulate(cancel(), seed=1) > 1


@pytest.mark.parametrize("follower", FOLLOWERS)
def test_cancel_at_any_time_releases_every_channel(follower: Follower) -> None:
    async def cancel() -> None:
        server = Server(random.Random(0))
        async with Client(SimulatedProject(server)) as client:
            for step in range(200):
                task = asyncio.create_task(follow(server, client, follower))
                await asyncio.wait([task], timeout=step / 10)
                task.cancel()
                await asyncio.wait([task])
                await assert_released(server)
            assert not task.cancelled()

    simulate(cancel(), seed=2)


async def follow(server: Server, client: Client, follower: Follower) -> None:
    """Follow a smelt from its creation."""
    history = make_history(random.Random(5))
    server.begin([history])
    playing = asyncio.create_task(server.play(history, 1))
    try:
        await follower(client, SMELT, BATCH)
    finally:
        playing.cancel()


async def assert_released(server: Server) -> None:
    await wait_until(lambda: len(asyncio.all_tasks()) == 1)
    assert server.channels == []

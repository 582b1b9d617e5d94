"""A seed decides all smelts, what clients do with them, and the order of the faults."""

from itertools import islice

from tests.chaos.injections import LANES
from tests.chaos.plan import KINDS, Plan, PlannedFault
from tests.chaos.workers import MODEL_WORKERS


def planned(seed: int) -> Plan:
    return Plan(seed=seed, texts=300, recordings=30, watchers=80, seconds=180)


def faults(seed: int, lane: str) -> list[PlannedFault]:
    return list(islice(planned(seed).faults(lane, tuple(LANES[lane]), MODEL_WORKERS), 40))


def test_seed_repeats_all_decisions() -> None:
    assert planned(7).smelts(recordings=False) == planned(7).smelts(recordings=False)
    assert planned(7).smelts(recordings=True) == planned(7).smelts(recordings=True)
    for lane in LANES:
        assert faults(7, lane) == faults(7, lane)
        assert faults(7, lane) != faults(8, lane)
    assert planned(7).smelts(recordings=False) != planned(8).smelts(recordings=False)


def test_plan_of_a_smelt_does_not_depend_on_the_size_of_the_run() -> None:
    few = Plan(seed=7, texts=10, recordings=3, watchers=4, seconds=1)
    assert few.smelts(recordings=False) == planned(7).smelts(recordings=False)[:10]


def test_plan_has_each_fault_once_before_any_again() -> None:
    for lane, known in LANES.items():
        assert {fault.name for fault in faults(7, lane)[: len(known)]} == set(known)


def test_plan_has_watchers_of_every_kind_and_every_action_of_clients() -> None:
    plan = planned(7)
    smelts = [*plan.smelts(recordings=False), *plan.smelts(recordings=True)]
    assert {plan.kind(smelt.number) for smelt in smelts} == set(KINDS)
    assert {action for smelt in smelts for action in smelt.actions} == {"cancel", "retry"}
    assert any(smelt.is_dispatched for smelt in smelts)
    assert any(smelt.is_visitors for smelt in smelts)

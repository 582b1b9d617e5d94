"""Random histories: the database follows the model of the core, and the model of the queue is fair between owners."""

from collections import Counter
from itertools import chain, zip_longest
from typing import Final

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from tests.integration.database.core_histories import HISTORIES, follow
from tests.integration.database.core_machine import MODELS, NUMBERS, OWNERS, CoreMachine, Step
from tests.integration.database.core_project import WORKERS, connect_callers, prepare
from tests.integration.database.db_calls import Database
from tests.integration.database.queue_model import Queue

CREATES: Final = st.tuples(st.just("create"), st.integers(0, len(OWNERS) - 1))
BURSTS: Final = st.tuples(st.just("create"), st.integers(2, 30))
CLAIMS: Final = st.tuples(st.just("claim"), st.integers(1, 3))
NAMED: Final = st.tuples(st.just("create"), st.integers(0, len(OWNERS) * len(MODELS) - 1))
SECOND_CLAIMS: Final = st.tuples(st.just("claim"), st.integers(1, 3), st.just(1))
ENDS: Final = st.tuples(st.just("complete"), NUMBERS)
RETURNS: Final = st.tuples(st.sampled_from(["release", "expire"]), NUMBERS)
STARTS: Final = st.tuples(st.sampled_from(["start", "stop"]), st.integers(0, 1))
RETURN_OF_A_LONG_SMELT: Final = [
    ("create", 2),
    ("claim", 1),
    ("create", 41),
    ("claim", 10),
    *[("complete", 1)] * 10,
    ("release", 0),
    ("create", 20),
    ("claim", 20),
]


@pytest.fixture
def core_database(database: Database) -> Database:
    """A database with the history of its smelts."""
    prepare(database)
    return database


def test_calls_follow_the_model_in_known_histories(core_database: Database) -> None:
    callers = connect_callers(core_database)
    for history in HISTORIES.values():
        follow(history, core_database, callers)


def test_calls_follow_the_model_in_random_histories(core_database: Database) -> None:
    """`scripts/mutants` shows which faults of the functions this detects."""
    callers = connect_callers(core_database)
    # On a busy machine, to shrink an example takes longer than a test may.
    chosen = settings(max_examples=15, phases=[Phase.reuse, Phase.generate])
    run_state_machine_as_test(lambda: CoreMachine(core_database, callers), settings=chosen)


@given(st.lists(NAMED | NAMED | CLAIMS | SECOND_CLAIMS | ENDS | RETURNS | STARTS, max_size=40))
@example(HISTORIES["a model is back"])
@example(HISTORIES["a worker restarts"])
@example(HISTORIES["two are released"])
def test_model_claims_the_smelts_of_each_owner_in_the_order_of_their_creation(history: list[Step]) -> None:
    queue = Queue(WORKERS, live=set())
    for kind, number, *more in [*history, ("start", 1), ("claim", 2, 1), ("claim", 100, 1)]:
        if kind in ("start", "stop"):
            getattr(queue, kind)(number)
        elif kind == "create":
            queue.create(OWNERS[number % len(OWNERS)], MODELS[number // len(OWNERS)])
        elif kind == "claim":
            worker = more[0] if more else 0
            waiting = sorted(queue.order(worker))
            claims = queue.claim(number, worker)
            for owner in OWNERS:
                own = [smelt for smelt in claims if queue.owners[smelt] == owner]
                assert own == [smelt for smelt in waiting if queue.owners[smelt] == owner][: len(own)]
        elif candidates := queue.candidates(kind):
            getattr(queue, kind)(candidates[number % len(candidates)])


@given(st.lists(NAMED | NAMED | CLAIMS, max_size=60))
def test_model_claims_the_same_smelts_without_those_that_no_worker_can_claim(history: list[tuple[str, int]]) -> None:
    """Smelts that no worker can claim hold back only later ones of their owner, who is a separate one here."""
    queue, without = Queue(WORKERS), Queue(WORKERS)
    kept: dict[int, int] = {}
    for change, number in history:
        if change == "claim":
            assert [kept[smelt] for smelt in queue.claim(number)] == without.claim(number)
            continue
        owner, model = OWNERS[number % len(OWNERS)], MODELS[number // len(OWNERS)]
        smelt = queue.create(owner if model != MODELS[-1] else "carla", model)
        if model != MODELS[-1]:
            kept[smelt] = without.create(owner, model)


@given(st.lists(st.integers(0, len(OWNERS) - 1), max_size=30))
def test_model_without_ends_is_a_round_robin(creators: list[int]) -> None:
    queue = Queue()
    smelts = [queue.create(OWNERS[number]) for number in creators]
    turns: list[list[int]] = [[smelt for smelt in smelts if queue.owners[smelt] == owner] for owner in OWNERS]
    rounds = [sorted(smelt for smelt in turn if smelt is not None) for turn in zip_longest(*turns)]
    assert queue.claim(100) == list(chain(*rounds))


@given(st.lists(BURSTS | BURSTS | CLAIMS | CLAIMS | ENDS | RETURNS, max_size=40))
@example(RETURN_OF_A_LONG_SMELT)
@settings(max_examples=500)
def test_model_claims_of_two_waiting_owners_differ_by_what_was_running(history: list[tuple[str, int]]) -> None:
    """A smelt that is returned and claimed again counts once. Cancelled ranks are left out: they are gaps."""
    queue = Queue()
    started: set[int] = set()
    claimed: set[int] = set()
    bound = 1
    for change, number in history:
        steps = number // 2 if change == "create" else number if change == "claim" else 1
        for _ in range(steps):
            if {queue.owners[smelt] for smelt in queue.due} != {"ada", "ben"}:
                # While one of them has nothing to claim, the other gets ahead.
                claimed.clear()
                bound = 1 + len(queue.leases) + len(started & queue.due.keys())
            if change == "create":
                queue.create(OWNERS[number % 2])
            elif change == "claim":
                claimed.update(queue.claim(1))
            elif candidates := queue.candidates(change):
                getattr(queue, change)(candidates[number % len(candidates)])
            started |= queue.leases.keys()
            counts = Counter(queue.owners[smelt] for smelt in claimed)
            assert abs(counts["ada"] - counts["ben"]) <= bound


@given(st.lists(CREATES | CREATES | CLAIMS | ENDS, max_size=80))
@example([*(("create", number) for number in (0, 1, 2, 1, 2)), ("claim", 1), ("create", 0), ("claim", 5)])
def test_model_claims_each_smelt_within_the_turns_in_front_of_it(history: list[tuple[str, int]]) -> None:
    queue = Queue()
    claims_left: dict[int, int] = {}
    for change, number in history:
        if change == "create":
            own = [smelt for smelt in queue.due if queue.owners[smelt] == OWNERS[number]]
            # One turn more: its owner may have been the first in the present one.
            claims_left[queue.create(OWNERS[number])] = (len(own) + 2) * len(OWNERS)
        elif change == "claim":
            claims = queue.claim(number)
            for position, smelt in enumerate(claims, start=1):
                assert position <= claims_left.pop(smelt)
            claims_left = {smelt: left - len(claims) for smelt, left in claims_left.items()}
            assert all(left > 0 for left in claims_left.values())
        elif candidates := queue.candidates(change):
            queue.complete(candidates[number % len(candidates)])


@given(st.lists(CREATES | CREATES | CLAIMS | ENDS | RETURNS, max_size=60))
def test_model_gives_no_credit_to_an_owner_that_was_idle(history: list[tuple[str, int]]) -> None:
    """The first smelt of an owner follows all that were first in the queue."""
    queue = Queue()
    for change, number in history:
        if change == "create":
            queue.create(OWNERS[number])
        elif change == "claim":
            queue.claim(number)
        elif candidates := queue.candidates(change):
            getattr(queue, change)(candidates[number % len(candidates)])
    front = queue.order()[:1] if not queue.expired else []
    newcomer = queue.create("carla")
    assert queue.order()[: len(front)] == front
    assert newcomer in queue.order()

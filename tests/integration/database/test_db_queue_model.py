"""Random histories of the queue: claims follow a model of the ranks, and the model is fair between owners."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, count, zip_longest
from typing import Any, Final

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.integration.database.db_calls import Caller, Database, anon, results_for, service, submitted, user

OWNERS: Final = ("ada", "ben", "visitors")
MODELS: Final = ("", "small", "large", "missing")
"""The models that smelts name, '' for none; no worker has the last one."""
WORKERS: Final = (frozenset({"", "small"}), frozenset({"", "small", "large"}))
"""The models that two workers can process."""
NUMBERS: Final = st.integers(0, 99)
CREATES: Final = st.tuples(st.just("create"), st.integers(0, len(OWNERS) - 1))
BURSTS: Final = st.tuples(st.just("create"), st.integers(2, 30))
CLAIMS: Final = st.tuples(st.just("claim"), st.integers(1, 3))
NAMED: Final = st.tuples(st.just("create"), st.integers(0, len(OWNERS) * len(MODELS) - 1))
SECOND_CLAIMS: Final = st.tuples(st.just("claim"), st.integers(-3, -1))
ENDS: Final = st.tuples(st.just("complete"), NUMBERS)
RETURNS: Final = st.tuples(st.sampled_from(["release", "expire"]), NUMBERS)
STARTS: Final = st.tuples(st.sampled_from(["start", "stop"]), st.integers(0, 1))
OTHERS: Final = st.tuples(st.sampled_from(["cancel", "fail_later", "pass_delay", "retry"]), NUMBERS)
ON_DATABASE: Final = settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

DELAYS_PASS_IN_ANOTHER_ORDER: Final = (
    [("create", 0)] * 4 + [("claim", 4)] + [("fail_later", 0)] * 4 + [("pass_delay", n) for n in (3, 1, 1, 0)]
)
NEXT_OF_AN_OWNER_WHOSE_OTHERS_RUN: Final = [
    *[("create", 0)] * 3,
    *[("create", 1)] * 3,
    ("claim", 5),
    ("create", 0),
]
LEASES_EXPIRE_IN_ANOTHER_ORDER: Final = [
    *[("create", 0)] * 3,
    ("claim", 3),
    *[("expire", n) for n in (2, 1, 0)],
    ("claim", 1),
]
WORKERS_AT_DIFFERENT_RANKS: Final = [
    *[("create", 7)] * 5,
    *[("create", 3)] * 5,
    ("claim", 3),
    ("create", 2),
    ("create", 1),
    ("create", 4),
    ("create", 8),
    ("claim", -4),
    ("create", 0),
    ("create", 9),
]
DELAY_OF_A_MODEL_PASSES: Final = [
    ("create", 8),
    ("claim", -1),
    ("fail_later", 0),
    *[("create", 7)] * 3,
    *[("create", 3)] * 5,
    ("claim", 3),
    ("pass_delay", 0),
    ("claim", 1),
]
MODEL_IS_BACK: Final = [
    ("create", 6),
    *[("create", 0)] * 2,
    ("start", 0),
    *[("create", 6)] * 3,
    ("create", 0),
    ("claim", 1),
    ("start", 1),
    ("create", 0),
    ("claim", -3),
]
WORKER_RESTARTS: Final = [("start", 1), ("create", 6), *[("create", 0)] * 2, ("stop", 1), ("start", 1)]
TWO_ARE_RELEASED: Final = [("start", 0), *[("create", 0)] * 6, ("claim", 3), ("claim", 1), *[("release", 0)] * 2]
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


@dataclass
class Queue:
    """The rules of the queue in Python, for smelts with numbers.

    Due smelts and expired leases have `(rank, arrival)`, by which they are claimed; a smelt that waits for a delay
    has its arrival once the delay has passed, None before. `workers` are the models that each worker can process;
    `live` are the workers that are alive, and `started` the smelts that a worker has claimed.
    """

    workers: tuple[frozenset[str], ...] = (frozenset({""}),)
    live: set[int] = field(default_factory=lambda: {0})
    owners: dict[int, str] = field(default_factory=dict)
    models: dict[int, str] = field(default_factory=dict)
    due: dict[int, tuple[int, int]] = field(default_factory=dict)
    leases: dict[int, int] = field(default_factory=dict)
    expired: dict[int, tuple[int, int]] = field(default_factory=dict)
    delayed: dict[int, int | None] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)
    started: set[int] = field(default_factory=set)
    arrivals: Iterator[int] = field(default_factory=count)

    def workers_of(self, model: str) -> list[frozenset[str]]:
        """Return the models of each live worker that can process this one, of an imagined one if there is none."""
        live = [self.workers[worker] for worker in self.live]
        return [models for models in live if model in models] or [frozenset({"", model})]

    def reached(self, model: str) -> int:
        """Return the rank that the workers of a model have reached."""
        workers = self.workers_of(model)
        shared = frozenset().union(*workers)
        ranks = {smelt: rank for smelt, (rank, _) in self.due.items() if self.models[smelt] in shared}
        new = {smelt: rank for smelt, rank in ranks.items() if smelt not in self.started}
        queues = [[rank for smelt, rank in new.items() if self.models[smelt] in models] for models in workers]
        if new:
            return max(min(ranks) - 1 for ranks in queues if ranks)
        leased = [rank for smelt, rank in self.leases.items() if self.models[smelt] in shared]
        return max(max(leased, default=0), min(ranks.values(), default=1) - 1)

    def highest(self, owner: str) -> int:
        """Return the highest rank of an owner, 0 without one."""
        ranks = {smelt: rank for smelt, (rank, _) in self.due.items()} | self.leases
        return max((rank for smelt, rank in ranks.items() if self.owners[smelt] == owner), default=0)

    def rank(self, smelt: int, arrival: int) -> None:
        """Rank a smelt that becomes due."""
        rank = max(self.highest(self.owners[smelt]), self.reached(self.models[smelt])) + 1
        self.due[smelt] = (rank, arrival)

    def create(self, owner: str, model: str = "") -> int:
        """Add a smelt of an owner; return its number."""
        smelt = len(self.owners)
        self.owners[smelt], self.models[smelt] = owner, model
        self.rank(smelt, next(self.arrivals))
        return smelt

    def order(self, worker: int = 0) -> list[int]:
        """Return the due smelts and expired leases that a worker can claim, in the order of claims."""
        waiting = self.due | self.expired
        reachable = [smelt for smelt in waiting if self.models[smelt] in self.workers[worker]]
        return sorted(reachable, key=lambda smelt: waiting[smelt])

    def claim(self, limit: int, worker: int = 0) -> list[int]:
        """Rank the smelts whose delay has passed, then lease the first ones for a worker."""
        passed = sorted((arrival, smelt) for smelt, arrival in self.delayed.items() if arrival is not None)
        highest: dict[str, int] = {}
        for _, smelt in passed:
            owner = self.owners[smelt]
            highest[owner] = max(highest.get(owner, 0), self.highest(owner), self.reached(self.models[smelt]))
        for arrival, smelt in passed:
            del self.delayed[smelt]
            highest[self.owners[smelt]] += 1
            self.due[smelt] = (highest[self.owners[smelt]], arrival)
        claims = self.order(worker)[:limit]
        self.lease(claims)
        return claims

    def lease(self, claims: list[int]) -> None:
        """Lease due smelts and those with expired leases."""
        for smelt in claims:
            self.leases[smelt] = (self.due.pop(smelt, None) or self.expired.pop(smelt))[0]
        self.started.update(claims)

    def release(self, smelt: int) -> None:
        """Return a smelt with its rank."""
        self.due[smelt] = (self.leases[smelt], next(self.arrivals))
        self._end_lease(smelt)

    def expire(self, smelt: int) -> None:
        """Let a lease expire: it is claimed at its rank."""
        self.expired[smelt] = (self.leases[smelt], next(self.arrivals))

    def complete(self, smelt: int) -> None:
        """End a smelt that a worker holds."""
        self._end_lease(smelt)

    def fail_later(self, smelt: int) -> None:
        """Let a smelt wait for a delay."""
        self._end_lease(smelt)
        self.delayed[smelt] = None

    def pass_delay(self, smelt: int) -> None:
        """Let the delay of a smelt pass: the next claim ranks it."""
        self.delayed[smelt] = next(self.arrivals)

    def cancel(self, smelt: int) -> None:
        """End a due smelt; its rank becomes a gap."""
        del self.due[smelt]
        self.ended.append(smelt)

    def retry(self, smelt: int) -> None:
        """Let a cancelled smelt arrive again."""
        self.ended.remove(smelt)
        self.started.discard(smelt)
        self.rank(smelt, next(self.arrivals))

    def start(self, worker: int) -> None:
        """Let a worker send heartbeats."""
        self.live.add(worker)

    def stop(self, worker: int) -> None:
        """Let a worker leave; its leases stay."""
        self.live.discard(worker)

    def candidates(self, change: str) -> list[int]:
        """Return the smelts that a change applies to."""
        match change:
            case "cancel":
                return list(self.due)
            case "retry":
                return list(self.ended)
            case "pass_delay":
                return [smelt for smelt, arrival in self.delayed.items() if arrival is None]
            case _:
                return [smelt for smelt in self.leases if smelt not in self.expired]

    def _end_lease(self, smelt: int) -> None:
        del self.leases[smelt]
        self.expired.pop(smelt, None)


class Project:
    """The same changes in the database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        database.run("delete from public.smelts")
        self.worker = database.caller(service())
        database.run("delete from smelt.workers")
        self.callers = {
            "ada": database.caller(user(database.add_user())),
            "ben": database.caller(user(database.add_user())),
            # Two kinds of callers that take turns as one owner.
            "visitors": database.caller(anon()),
            "guest": database.caller(user(database.add_user(), is_anonymous=True)),
        }
        self.ids: list[str] = []
        self.creators: list[Caller] = []
        self.claims: dict[int, dict[str, Any]] = {}

    def close(self) -> None:
        """Close the sessions of the callers."""
        for caller in (self.worker, *self.callers.values()):
            caller.session.close()

    def start(self, worker: int) -> None:
        info = {"models": list(WORKERS[worker])}
        self.worker("heartbeat_smelt_worker", worker_id=f"worker {worker}", info=info, host="host")

    def stop(self, worker: int) -> None:
        self.worker("heartbeat_smelt_worker", worker_id=f"worker {worker}", info={}, leaving=True)

    def create(self, owner: str, model: str = "") -> None:
        caller = self.callers["guest" if owner == "visitors" and len(self.ids) % 2 else owner]
        if model:
            created = submitted(self.database, caller, options={"model": model})
        else:
            created = caller("create_smelt", text_input="text")
        self.ids.append(created["id"])
        self.creators.append(caller)

    def claim(self, limit: int, worker: int = 0) -> list[int]:
        claims = self.worker(
            "claim_smelts",
            worker_id=f"worker {worker}",
            max_count=limit,
            host="host",
            models=list(WORKERS[worker]),
        )["smelts"]
        numbers = [self.ids.index(claim["id"]) for claim in claims]
        self.claims |= zip(numbers, claims, strict=True)
        return numbers

    def change(self, change: str, smelt: int) -> None:
        attempt = {"smelt_id": self.ids[smelt], "attempt": self.claims.get(smelt, {}).get("attempt")}
        match change:
            case "cancel" | "retry":
                self.creators[smelt](f"{change}_smelt", smelt_id=self.ids[smelt])
            case "complete":
                self.worker("complete_smelt", **attempt, results=results_for(self.claims[smelt]))
            case "release":
                self.worker("release_smelt", **attempt)
            case "fail_later":
                self.worker("fail_smelt", **attempt, error_code="connection_lost", transient=True)
            case "pass_delay":
                self.database.run(
                    "update public.smelts set claimable_at = clock_timestamp() where id = %s", self.ids[smelt]
                )
            case "expire":
                self.database.run(
                    "update smelt.leases set expires_at = clock_timestamp() where smelt_id = %s", self.ids[smelt]
                )


@given(st.lists(NAMED | NAMED | CLAIMS | SECOND_CLAIMS | ENDS | RETURNS | OTHERS | STARTS, max_size=40))
@example(WORKERS_AT_DIFFERENT_RANKS)
@example(DELAY_OF_A_MODEL_PASSES)
@example(DELAYS_PASS_IN_ANOTHER_ORDER)
@example(NEXT_OF_AN_OWNER_WHOSE_OTHERS_RUN)
@example(LEASES_EXPIRE_IN_ANOTHER_ORDER)
@ON_DATABASE
def test_claims_follow_the_model_in_random_histories(database: Database, history: list[tuple[str, int]]) -> None:
    database.run("update smelt.limits set max_open = 1000, anonymous_max_open = 1000, max_failures = 1000")
    queue, project = Queue(WORKERS, live=set()), Project(database)
    for change, number in [("start", 0), ("start", 1), *history, ("claim", 100), ("claim", -100)]:
        if change in {"start", "stop"}:
            getattr(queue, change)(number)
            getattr(project, change)(number)
        elif change == "create":
            owner, model = OWNERS[number % len(OWNERS)], MODELS[number // len(OWNERS)]
            queue.create(owner, model)
            project.create(owner, model)
        elif change == "claim":
            # A negative number stands for a claim of the second worker.
            limit, worker = abs(number), int(number < 0)
            assert project.claim(limit, worker) == queue.claim(limit, worker)
        elif candidates := queue.candidates(change):
            smelt = candidates[number % len(candidates)]
            getattr(queue, change)(smelt)
            project.change(change, smelt)
        ranks = database.rows("select id::text, queue_rank from public.smelts where queue_rank is not null")
        assert {project.ids.index(smelt): rank for smelt, rank in ranks} == {s: r for s, (r, _) in queue.due.items()}
    project.close()


@given(st.lists(NAMED | NAMED | CLAIMS | SECOND_CLAIMS | ENDS | RETURNS | STARTS, max_size=40))
@example(MODEL_IS_BACK)
@example(WORKER_RESTARTS)
@example(TWO_ARE_RELEASED)
@ON_DATABASE
def test_claims_take_the_smelts_of_each_owner_in_the_order_of_their_creation(
    database: Database, history: list[tuple[str, int]]
) -> None:
    database.run("update smelt.limits set max_open = 1000, anonymous_max_open = 1000")
    queue, project = Queue(WORKERS, live=set()), Project(database)
    for change, number in [*history, ("start", 1), ("claim", -2), ("claim", -100)]:
        if change in {"start", "stop"}:
            getattr(project, change)(number)
        elif change == "create":
            owner, model = OWNERS[number % len(OWNERS)], MODELS[number // len(OWNERS)]
            queue.create(owner, model)
            project.create(owner, model)
        elif change == "claim":
            worker = int(number < 0)
            waiting = sorted(queue.order(worker))
            claims = project.claim(abs(number), worker)
            for owner in OWNERS:
                own = [smelt for smelt in claims if queue.owners[smelt] == owner]
                assert own == [smelt for smelt in waiting if queue.owners[smelt] == owner][: len(own)]
            queue.lease(claims)
        elif candidates := queue.candidates(change):
            smelt = candidates[number % len(candidates)]
            getattr(queue, change)(smelt)
            project.change(change, smelt)
    project.close()


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
def test_model_claims_each_smelt_within_the_turns_in_front_of_it(history: list[tuple[str, int]]) -> None:
    queue = Queue()
    claims_left: dict[int, int] = {}
    for change, number in history:
        if change == "create":
            own = [smelt for smelt in queue.due if queue.owners[smelt] == OWNERS[number]]
            claims_left[queue.create(OWNERS[number])] = (len(own) + 1) * len(OWNERS)
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

"""Random histories of the core: calls one after another, and two at the same time, with the invariants after each."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import replace
from itertools import count
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tests.harness.waiting import wait_until
from tests.integration.database.core_model import STAGES, Attempt, Call, Model, Violation, expect
from tests.integration.database.core_project import WORKERS, Callers, Project
from tests.integration.database.db_calls import Database
from tests.integration.database.queue_model import Queue

Step = tuple[Any, ...]
"""The name of a step, and its numbers."""

OWNERS: Final = ("ada", "ben", "visitors")
MODELS: Final = ("", "small", "large", "missing")
"""The models that smelts name, '' for none; no worker has the last one."""
RISKS: Final = (None, "decode", "model")
CODES: Final = ("internal_error", "corrupted_file")

INVARIANTS: Final = """
select 'a lease belongs to the attempt of an open smelt', l.smelt_id
from smelt.leases as l join public.smelts as s on s.id = l.smelt_id
where s.completed_at is not null or s.attempt <> l.attempt or s.claimable_at is not null or s.submitted_at is null
union all
select 'an attempt that has not ended has a lease', coalesce(a.smelt_id, l.smelt_id)
from (select * from smelt.attempts where ended_as is null) as a
full join smelt.leases as l on l.smelt_id = a.smelt_id and l.attempt = a.attempt
where a.smelt_id is null or l.smelt_id is null
union all
select 'a submitted smelt is queued, leased or ended', s.id
from public.smelts as s
where s.submitted_at is not null and 1 <> (
    (s.claimable_at is not null)::integer + (s.completed_at is not null)::integer
    + exists (select from smelt.leases as l where l.smelt_id = s.id)::integer
)
union all
-- The lease of a suspect has the rank that was reached, which another smelt may have.
select 'the ranks of an owner are distinct', min(r.smelt_id::text)::uuid
from (
    select s.id as smelt_id, s.queue_owner, s.queue_rank from public.smelts as s where s.queue_rank is not null
    union all
    select l.smelt_id, l.queue_owner, l.queue_rank from smelt.leases as l
) as r
where not exists (
    select from smelt.attempts as a where a.smelt_id = r.smelt_id and a.ended_as = 'expired' and a.is_failure
)
group by r.queue_owner, r.queue_rank
having count(*) > 1
union all
select 'an open smelt is a suspect', x.smelt_id
from smelt.suspects as x join public.smelts as s on s.id = x.smelt_id where s.completed_at is not null
union all
select 'a batch counts its smelts', b.id
from public.smelt_batches as b
left join public.smelts as s on s.batch_id = b.id
group by b.id
having (b.total, b.completed, b.failed) is distinct from (
    count(s.id)::integer, (count(*) filter (where s.status = 'completed'))::integer,
    (count(*) filter (where s.status = 'failed'))::integer
) or (count(s.id) > 0 and (b.status in ('completed', 'failed')) <> (bool_and(s.completed_at is not null)))
union all
select 'the owner is notified once of the end of each run', s.id
from public.smelts as s
left join public.smelt_notifications as n on n.smelt_id = s.id
where s.user_id is not null
group by s.id
having count(n.id) <> s.run - 1 + (s.completed_at is not null)::integer
    or count(n.id) <> count(distinct n.data ->> 'run')
union all
select 'a completed smelt has results', s.id
from public.smelts as s
where (s.status = 'completed') <> exists (
    select from public.smelt_results as r where r.smelt_id = s.id and r.run = s.run
)
union all
select 'the audio of an open smelt exists', s.id
from public.smelts as s
join public.smelt_files as f on f.smelt_id = s.id and f.input_type = 'audio'
left join storage.objects as o on o.name = f.upload_path
where s.submitted_at is not null and s.completed_at is null and (o.name is null or s.audio_state <> 'stored')
"""
OUTBOX: Final = "select topic, event, coalesce(payload ->> 'run', payload ->> 'seq')::bigint from smelt.outbox"
OLD_MESSAGES: Final = """
select count(*) from smelt.outbox as o join public.smelts as s on s.id = o.smelt_id where o.run < s.run and s.id = %s
"""
ENDS: Final = "select 'smelt:' || id, status, run from public.smelts where completed_at is not null"
BATCHES: Final = "select 'smelt-batch:' || id, 'progress', seq from public.smelt_batches where seq > 1"
HISTORY: Final = """
select smelt_id::text, run, seq, attempt, status, percentage, segment_count, visible, id
from public.history where id > %s order by id
"""


class Core:
    """The core in the database and its model; each step changes both and checks the invariants."""

    def __init__(self, database: Database, callers: Callers) -> None:
        self.database = database
        self.project = Project(database, callers)
        self.model = Model(Queue(WORKERS, live=set()))
        self.error: Exception | None = None
        """The error of the last step."""
        self._tokens, self._numbers = count(1), count()
        self._last_tokens: dict[int, int] = {}
        self._states: dict[str, tuple[Any, ...]] = {}
        self._last_change = 0
        self._pool = ThreadPoolExecutor(1)

    def close(self) -> None:
        """Wait until no call is running."""
        self._pool.shutdown()

    def step(self, kind: str, *numbers: Any) -> None:
        """Make one step: a call, two at the same time, or a change of the clock or of Storage."""
        # Workers are alive until they stop, however long the test takes.
        self.database.run("update smelt.workers set seen_at = clock_timestamp()")
        try:
            if hasattr(self, f"_make_{kind}"):
                if call := self.call_of(kind, *numbers):
                    self.run(call)
            else:
                getattr(self, kind)(*numbers)
        except Exception as error:
            self.error = error
            raise

    def call_of(self, kind: str, *numbers: int) -> Call | None:
        """Return a call; None if there is nothing to call it for."""
        make: Callable[..., Call | None] = getattr(self, f"_make_{kind}")
        return make(*numbers)

    def run(self, call: Call) -> None:
        """Make a call, and compare its response and the state after it with the model."""
        self.model.apply(call, self.project.run(call))
        if call.kind == "retry":
            old = self.database.value(OLD_MESSAGES, self.project.ids[call.smelt])
            expect("a retry removes the messages of older runs", old, 0)
        self.check()

    def race(self, first_step: Step, second_step: Step) -> None:
        """Make a call while the transaction of another one is open; the result is that of one after the other."""
        first, second = self.call_of(*first_step), self.call_of(*second_step)
        if first is not None and second is not None:
            results = self._run_both(self._without_risk(first), self._without_risk(second))
            self._continue_after(results)
            self.check()

    def _run_both(self, first: Call, second: Call) -> list[tuple[Call, Any]]:
        """Return the calls with their responses; the transaction of the first ends once the second waits or ends."""
        opened, beside = self.project.callers[first.caller][0], self.project.callers[second.caller][1]

        def run_beside() -> Any:
            with beside.open_transaction():
                return self.project.run_in_transaction(second, beside)

        pid = beside.session.info.backend_pid
        with opened.open_transaction():
            first_response = self.project.run_in_transaction(first, opened)
            running = self._pool.submit(run_beside)
            blocked = "select cardinality(pg_blocking_pids(%s)) > 0"
            wait_until(lambda: running.done() or self.database.value(blocked, pid))
        return [(first, first_response), (second, running.result())]

    def _continue_after(self, results: list[tuple[Call, Any]]) -> None:
        """Apply two calls to the model in the order that explains their responses and the rows."""
        rows, ranks, reserved = self.project.rows()
        workers = self.project.workers()
        violations = []
        for order in (results, results[::-1]):
            model = deepcopy(self.model)
            model.is_exact = False
            try:
                for call, response in order:
                    model.apply(call, response)
                expect("state", rows, model.rows())
                expect("workers", workers, model.workers())
            except Violation as violation:
                violations.append(violation)
            else:
                model.adopt(ranks, reserved)
                model.is_exact = True
                self.model = model
                return
        detail = "; ".join(f"{call}: {response}" for call, response in results)
        raise Violation("calls at the same time have the result of one after the other", f"{detail}; {violations}")

    def _without_risk(self, call: Call) -> Call:
        """Return a claim that leaves expired leases alone while one has a risk: which of them it skips is unknown."""
        if call.kind != "claim" or not self.model.at_risk:
            return call
        return replace(call, arguments=call.arguments | {"with_expired": False})

    def check(self) -> None:
        """Check the invariants that hold after each step."""
        rows, ranks, _ = self.project.rows()
        expect("the rows are those of the model", rows, self.model.rows())
        expect("the ranks are those of the model", ranks, self.model.ranks())
        expect("the workers are those of the model", self.project.workers(), self.model.workers())
        for name, detail in self.database.rows(INVARIANTS):
            raise Violation(name, detail)
        self._check_outbox()
        self._check_history()

    def _check_outbox(self) -> None:
        unsent = self.database.rows(OUTBOX)
        known = {*unsent, *self.project.acknowledged}
        for end in self.database.rows(ENDS):
            expect("an end is sent once", unsent.count(end) + (end in self.project.acknowledged), 1)
        for progress in self.database.rows(BATCHES):
            if progress not in known:
                raise Violation("the newest progress of a batch is sent", progress)

    def _check_history(self) -> None:
        for smelt, *new, change in self.database.rows(HISTORY, self._last_change):
            self._last_change = change
            old = self._states.get(smelt)
            self._states[smelt] = tuple(new)
            if old is None:
                continue
            run, seq, attempt, status, percentage, segment_count, visible = new
            expect("seq grows by one with what is visible", seq, old[1] + ((segment_count, visible) != old[5:]))
            if attempt < old[2] or segment_count < old[5]:
                raise Violation("attempts and segments never decrease", (old, new))
            if run == old[0] and (percentage < old[4] or (old[3] in ("completed", "failed") and status != old[3])):
                raise Violation("percentages never decrease, and an end is final", (old, new))

    # Recordings, the clock, Storage

    def create(self, number: int, is_member: int = 0) -> None:
        """Create and submit a smelt: the text of an owner, or a recording with a model."""
        model = MODELS[number // len(OWNERS) % len(MODELS)]
        creation = self._creation(number, model, is_audio=bool(model), is_member=bool(is_member))
        self.run(creation)
        if model:
            self._upload(creation.smelt)
            self.run(replace(creation, kind="submit"))

    def draft(self, number: int) -> None:
        """Create a recording without submitting it; upload all but each fourth."""
        creation = self._creation(number, "", is_audio=True, is_member=False)
        self.run(creation)
        if number % 4:
            self._upload(creation.smelt)

    def expire(self, number: int) -> None:
        """Let a lease expire."""
        if live := self.model.live_leases():
            self._expire(live[number % len(live)])

    def stop_at_risk(self, number: int) -> None:
        """Let a lease expire while its worker decodes or transcribes."""
        if live := self.model.live_leases():
            smelt = live[number % len(live)]
            state = self.model.smelts[smelt]
            risk = {"stage": "transcribing", "risk": RISKS[1 + number // 31 % 2], "percentage": 20.0}
            worker = self.project.claims[smelt, state.attempt]
            arguments = risk | {"is_advanced": False}
            self.run(Call("report", f"worker {worker}", smelt, state.attempt, worker, arguments))
            self._expire(smelt)

    def pass_delay(self, number: int) -> None:
        """Let the delay of a smelt pass."""
        if waiting := self.model.waiting():
            smelt = waiting[number % len(waiting)]
            self.model.pass_delay(smelt)
            self._set("public.smelts set claimable_at = clock_timestamp() where id = %s", smelt)

    def age(self, number: int) -> None:
        """Let a day pass since a smelt ended, or since it was created without being submitted."""
        known = [smelt for smelt, state in self.model.smelts.items() if state.has_ended or not state.is_submitted]
        if known:
            smelt = known[number % len(known)]
            self.model.smelts[smelt].is_aged = True
            day = "completed_at = completed_at - interval '25 h', created_at = created_at - interval '25 h'"
            self._set(f"public.smelts set {day} where id = %s", smelt)

    def age_outbox(self) -> None:
        """Let messages wait until any worker sends them, and their leases expire."""
        self.database.run(
            "update smelt.outbox set created_at = created_at - interval '10 s', leased_by = null, leased_until = null"
        )
        self.project.messages.clear()

    def drain(self, worker: int) -> None:
        """Release the smelts that a worker holds."""
        for smelt in self.model.live_leases():
            state = self.model.smelts[smelt]
            if state.worker == worker:
                released = {"is_failure": False}
                self.run(Call("release", f"worker {worker}", smelt, state.attempt, worker, released))

    def remove(self, worker: int) -> None:
        """Remove the objects that a worker was asked to remove."""
        paths = [entry["path"] for entry in self.project.listed.get(worker, {"objects": []})["objects"]]
        self.database.run("delete from storage.objects where name = any (%s)", paths)
        self.model.objects -= {self.project.numbers[path.split("/")[0]] for path in paths}

    def _expire(self, smelt: int) -> None:
        self.model.expire(smelt)
        self._set("smelt.leases set expires_at = clock_timestamp() where smelt_id = %s", smelt)

    def _upload(self, smelt: int) -> None:
        self.project.upload(smelt)
        self.model.objects.add(smelt)

    def _set(self, change: str, smelt: int) -> None:
        self.database.run(f"update {change}", self.project.ids[smelt])

    # Calls

    def _creation(self, number: int, model: str, *, is_audio: bool, is_member: bool) -> Call:
        smelt, owner = next(self._numbers), OWNERS[number % len(OWNERS)]
        caller = ("visitor", "guest")[smelt % 2] if owner == "visitors" else owner
        arguments = {"model": model, "is_audio": is_audio, "is_member": is_member}
        arguments["options"] = {"model": model} if model else {}
        return Call("create", caller, smelt, arguments=arguments)

    def _make_text(self, number: int, _: int = 0) -> Call:
        return self._creation(number, "", is_audio=False, is_member=number % 2 == 0)

    def _make_submit(self, number: int, _: int = 0) -> Call | None:
        return self._client_call("submit", number, self._drafts())

    def _make_cancel(self, number: int, _: int = 0) -> Call | None:
        return self._client_call("cancel", number, list(self.project.ids))

    def _make_cancel_due(self, number: int, _: int = 0) -> Call | None:
        return self._client_call("cancel", number, list(self.model.queue.due))

    def _make_cancel_leased(self, number: int, _: int = 0) -> Call | None:
        return self._client_call("cancel", number, [smelt for smelt, _ in self._attempts(number)])

    def _make_retry(self, number: int, _: int = 0) -> Call | None:
        failed = [smelt for smelt, state in self.model.smelts.items() if state.status == "failed"]
        return self._client_call("retry", number, failed if number % 7 else list(self.project.ids))

    def _make_delete(self, number: int, _: int = 0) -> Call | None:
        return self._client_call("delete", number, list(self.project.ids))

    def _make_claim(self, limit: int, worker: int = 0) -> Call:
        self._last_tokens[worker] = token = next(self._tokens)
        return self._claim(worker, limit, token)

    def _make_repeat(self, _: int, worker: int) -> Call:
        return self._claim(worker, 3, self._last_tokens.setdefault(worker, next(self._tokens)))

    def _make_report(self, number: int, _: int = 0, share: int | None = None) -> Call | None:
        stage, risk = STAGES[1 + number // 7 % 4], RISKS[number // 31 % 3]
        percentage = float(number // 101 % 100 if share is None else share)
        shown = {"percentage": percentage, "is_advanced": number // 11 % 2 == 0}
        return self._attempt_call("report", number, stage=stage, risk=risk, **shown)

    def _make_renew(self, _: int, worker: int) -> Call:
        return self._worker_call("renew", worker, attempts=self.project.attempts_of(worker))

    def _make_complete(self, number: int, _: int = 0) -> Call | None:
        return self._attempt_call("complete", number)

    def _make_fail(self, number: int, _: int = 0) -> Call | None:
        return self._attempt_call("fail", number, code=CODES[number // 7 % 2], is_transient=False)

    def _make_fail_later(self, number: int, _: int = 0) -> Call | None:
        return self._attempt_call("fail", number, code="connection_lost", is_transient=True)

    def _make_release(self, number: int, _: int = 0) -> Call | None:
        return self._attempt_call("release", number, is_failure=number // 7 % 2 == 1)

    def _make_start(self, worker: int, _: int = 0) -> Call:
        return self._worker_call("start", worker % len(WORKERS))

    def _make_stop(self, worker: int, _: int = 0) -> Call:
        return self._worker_call("stop", worker % len(WORKERS))

    def _make_send(self, _: int, worker: int) -> Call:
        return self._worker_call("claim_outbox", worker)

    def _make_acknowledge(self, number: int, worker: int) -> Call:
        # A worker acknowledges what it has received: nothing that a call beside it is given before its commit.
        call = self._worker_call("settle_outbox", worker)
        return replace(call, arguments={"ids": self.project.given(call.caller)[: 1 + number % 3]})

    def _make_list_expired(self, _: int, worker: int) -> Call:
        return self._worker_call("list_expired", worker)

    def _make_confirm(self, _: int, worker: int) -> Call:
        listed = self.project.listed.setdefault(worker, {"smelts": [], "objects": []})
        return self._worker_call("confirm", worker, numbers=[self.project.numbers[id_] for id_ in listed["smelts"]])

    def _client_call(self, kind: str, number: int, candidates: list[int]) -> Call | None:
        if not candidates:
            return None
        smelt = candidates[number % len(candidates)]
        return Call(kind, self.project.creators[smelt], smelt)

    def _worker_call(self, kind: str, worker: int, **arguments: Any) -> Call:
        return Call(kind, f"worker {worker}", worker=worker, arguments=arguments)

    def _claim(self, worker: int, limit: int, token: int) -> Call:
        return self._worker_call("claim", worker, token=token, limit=limit, with_expired=True)

    def _drafts(self) -> list[int]:
        return [smelt for smelt, state in self.model.smelts.items() if not state.is_submitted]

    def _attempts(self, number: int) -> list[Attempt]:
        """Return attempts that hold their smelts, for each fourth number also older ones."""
        held = [(smelt, self.model.smelts[smelt].attempt) for smelt in self.model.queue.leases]
        return held if number % 4 or not self.model.claims else [*held, *self.model.claims]

    def _attempt_call(self, kind: str, number: int, **arguments: Any) -> Call | None:
        attempts = self._attempts(number)
        if not attempts:
            return None
        smelt, attempt = attempts[number % len(attempts)]
        worker = self.project.claims[smelt, attempt]
        return Call(kind, f"worker {worker}", smelt, attempt, worker, arguments)


NUMBERS: Final = st.integers(0, 9999)
WORKER: Final = st.integers(0, len(WORKERS) - 1)
AT_LEASE: Final = ("report", "complete", "fail_later", "release", "cancel_leased")
CALLS: Final = (
    *("text", "submit", "cancel", "cancel_due", "retry", "delete", "repeat", "report", "renew", "fail", *AT_LEASE),
    *("start", "stop", "send", "acknowledge"),
)
RACES: Final = (
    *((first, second) for first in AT_LEASE for second in (*AT_LEASE, "renew", "claim")),
    *(("text", other) for other in ("text", "text", "text", "text", "claim", "cancel_due", "complete")),
    *((first, second) for first in ("claim", "repeat", "renew") for second in ("claim", "repeat", "renew", "report")),
    *[("renew", "claim"), ("repeat", "repeat")] * 2,
    *(
        (first, second)
        for first in ("retry", "submit", "cancel_due")
        for second in ("retry", "submit", "claim", "text")
    ),
    *(("send", other) for other in ("send", "send", "retry", "complete", "acknowledge")),
    *((first, second) for first in ("list_expired", "confirm") for second in ("retry", "submit", "cancel", "delete")),
)
"""Calls that compete for a smelt, a rank or a message, if they have the same number."""


class CoreMachine(RuleBasedStateMachine):
    """Random steps of several workers and clients."""

    def __init__(self, database: Database, callers: Callers) -> None:
        super().__init__()
        self.core = Core(database, callers)
        for worker in range(len(WORKERS)):
            self.core.step("start", worker)

    def teardown(self) -> None:
        self.core.close()

    @rule(number=st.integers(0, len(OWNERS) * len(MODELS) - 1), is_member=st.integers(0, 1))
    def create(self, number: int, is_member: int) -> None:
        self.core.step("create", number, is_member)

    @rule(number=NUMBERS)
    def draft(self, number: int) -> None:
        self.core.step("draft", number)

    @rule(limit=st.integers(1, 3), worker=WORKER)
    def claim(self, limit: int, worker: int) -> None:
        self.core.step("claim", limit, worker)

    @rule(kind=st.sampled_from(AT_LEASE), number=NUMBERS)
    def work(self, kind: str, number: int) -> None:
        self.core.step(kind, number)

    @rule(kind=st.sampled_from(CALLS), number=NUMBERS, worker=WORKER)
    def call(self, kind: str, number: int, worker: int) -> None:
        self.core.step(kind, number, worker)

    @rule(kind=st.sampled_from(["expire", "stop_at_risk", "pass_delay", "age"]), number=NUMBERS)
    def wait(self, kind: str, number: int) -> None:
        self.core.step(kind, number)

    @rule(number=NUMBERS)
    def retry_two_later(self, number: int) -> None:
        """Let two smelts wait for a delay that passes before the next claim."""
        for kind in ("fail_later", "fail_later", "pass_delay", "pass_delay"):
            self.core.step(kind, number)

    @rule(number=NUMBERS)
    def cancel_and_retry(self, number: int) -> None:
        self.core.step("cancel_due", number)
        self.core.step("retry", number)

    @rule(number=NUMBERS)
    def report_less(self, number: int) -> None:
        """Report a lower percentage of the same stage."""
        self.core.step("report", number, 0, 90)
        self.core.step("report", number, 0, 10)

    @rule(number=NUMBERS, worker=WORKER)
    def claim_suspect(self, number: int, worker: int) -> None:
        """Claim a suspect when a worker is idle; then more, which it does not get, and report."""
        self.core.step("claim", 2, worker)
        self.core.step("stop_at_risk", number)
        self.core.step("drain", worker)
        self.core.step("claim", 2, worker)
        self.core.step("claim", 2, worker)
        self.core.step("report", number)

    @rule(worker=WORKER)
    def repeat_claim_that_still_runs(self, worker: int) -> None:
        self.core.step("race", ("claim", 2, worker), ("repeat", 0, worker))

    @rule(worker=WORKER)
    def send_aged(self, worker: int) -> None:
        self.core.step("age_outbox")
        self.core.step("send", 0, worker)

    @rule(worker=WORKER, with_removal=st.booleans())
    def purge(self, worker: int, with_removal: bool) -> None:
        self.core.step("list_expired", 0, worker)
        if with_removal:
            self.core.step("remove", worker)
        self.core.step("confirm", 0, worker)

    @rule(worker=WORKER)
    def list_twice(self, worker: int) -> None:
        """Let a second worker list what the first one has not confirmed."""
        for either in (worker, 1 - worker):
            self.core.step("list_expired", 0, either)

    @rule(kinds=st.sampled_from(RACES), number=NUMBERS, workers=st.tuples(WORKER, WORKER), is_expired=st.booleans())
    def race(self, kinds: tuple[str, str], number: int, workers: tuple[int, int], is_expired: bool) -> None:
        if is_expired:
            self.core.step("expire", number)
        if "send" in kinds:
            self.core.step("age_outbox")
        steps = [
            (kind, 1 + number % 3 if kind == "claim" else number, worker)
            for kind, worker in zip(kinds, workers, strict=True)
        ]
        self.core.step("race", *steps)

    @rule(kinds=st.tuples(st.sampled_from(CALLS), st.sampled_from(CALLS)), number=NUMBERS, worker=WORKER)
    def race_of_any(self, kinds: tuple[str, str], number: int, worker: int) -> None:
        self.core.step("race", *((kind, number, worker) for kind in kinds))

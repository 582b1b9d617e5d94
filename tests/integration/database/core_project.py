"""The calls of the core's model in the database, each with two sessions, and what the database has after them."""

from collections import Counter
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import psycopg

from tests.integration.database.core_model import Call, Violation
from tests.integration.database.db_calls import Caller, Database, anon, rejection, service, upload, user

Run = Callable[..., Any]
"""Calls a function of the database by its name."""

WORKERS: Final = (frozenset({"", "small"}), frozenset({"", "small", "large"}))
"""The models that two workers can process."""
LEASE_S: Final = 3600
"""No lease, and no delay, ends by itself during a test."""

TRIGGER: Final = """
create table public.history (
    id bigint generated always as identity, smelt_id uuid, run integer, seq bigint, attempt bigint, status text,
    percentage numeric, segment_count bigint, visible jsonb
);
create function public.remember() returns trigger language plpgsql security definer as $$
begin
    insert into public.history (smelt_id, run, seq, attempt, status, percentage, segment_count, visible)
    values (
        new.id, new.run, new.seq, new.attempt, new.status, new.percentage,
        (select count(*) from public.smelt_segments as g where g.smelt_id = new.id),
        to_jsonb(new) - '{
            seq,updated_at,failure_count,queue_rank,claimable_at,audio_state,audio_kept_until,created_at,completed_at
        }'::text[]
    );
    return null;
end
$$;
create trigger remember after insert or update on public.smelts for each row execute function public.remember();
"""
EMPTY: Final = """
delete from public.smelts;
delete from public.smelt_batches;
delete from storage.objects;
delete from smelt.workers;
delete from smelt.outbox;
update smelt.janitor set worker_id = null, leased_until = null, swept_to = null;
truncate public.history
"""
ROWS: Final = """
select s.id::text, s.run, s.attempt, s.status, s.error_code, s.failure_count, s.audio_state,
    s.claimable_at is not null, l.attempt, l.worker_id, l.risk, x.risk,
    coalesce(s.queue_rank, l.queue_rank), x.reserved_by
from public.smelts as s
left join smelt.leases as l on l.smelt_id = s.id
left join smelt.suspects as x on x.smelt_id = s.id
"""
LIVE_AND_JANITOR: Final = """
select array(select w.worker_id from smelt.live_workers as w), j.worker_id from smelt.janitor as j
"""


def prepare(database: Database) -> None:
    """Add the history of smelts, and limits that a test does not reach."""
    database.run(TRIGGER)
    database.run("set storage.allow_delete_query = 'true'")
    database.run(
        "update smelt.limits set max_open = 1000, anonymous_max_open = 1000, retry_base_s = 3600, retry_max_s = 3600"
    )


Callers = dict[str, tuple[Caller, Caller]]
"""The two sessions of each caller, by its name."""


def connect_callers(database: Database) -> Callers:
    """Open the sessions of clients and workers, for all histories: in a new one, each function is compiled again."""
    users = {name: database.add_user() for name in ("ada", "ben", "guest")}
    roles = {
        "ada": user(users["ada"]),
        "ben": user(users["ben"]),
        # Two kinds of callers that take turns as one owner.
        "visitor": anon(),
        "guest": user(users["guest"], is_anonymous=True),
    }
    roles |= {f"worker {worker}": service() for worker in range(len(WORKERS))}
    return {name: (database.caller(role), database.caller(role)) for name, role in roles.items()}


class Project:
    """A database without smelts, and its callers."""

    def __init__(self, database: Database, callers: Callers) -> None:
        self.database = database
        self.callers = callers
        database.run(EMPTY)
        self.batches = {name: self.callers[name][0]("create_smelt_batch")["id"] for name in ("ada", "ben")}
        self.ids: dict[int, str] = {}
        self.numbers: dict[str, int] = {}
        self.creators: dict[int, str] = {}
        self.files: dict[int, str] = {}
        self.claims: dict[tuple[int, int], int] = {}
        """The attempts that were claimed, with their workers."""
        self.segment_counts: Counter[int] = Counter()
        self.listed: dict[int, dict[str, Any]] = {}
        """What each worker was last asked to purge."""
        self.messages: dict[int, dict[str, Any]] = {}
        """The messages of the outbox that a worker was given, with their `worker`, until they are settled or age."""
        self.acknowledged: set[tuple[Any, ...]] = set()

    def run(self, call: Call) -> Any:
        """Make a call and commit; return its response in the words of the model."""
        caller = self.callers[call.caller][0]
        with caller.open_transaction():
            return self.run_in_transaction(call, caller)

    def run_in_transaction(self, call: Call, caller: Caller) -> Any:
        """Make a call in the open transaction."""
        function: Callable[..., Any] = getattr(self, f"_{call.kind}")
        try:
            with caller.session.transaction():
                return function(call, caller.call_in_transaction)
        except psycopg.Error as error:
            state, code = rejection(error)
            if state is None or not state.startswith("PT"):
                raise
            return ("rejected", code)

    def given(self, caller: str) -> list[int]:
        """Return the numbers of the messages that a worker was given, and has neither settled nor lost."""
        return [number for number, message in self.messages.items() if message["worker"] == caller]

    def rows(self) -> tuple[dict[int, tuple[Any, ...]], dict[int, int], dict[int, int | None]]:
        """Return the rows, ranks and reservations as the model has them."""
        rows, ranks, reserved = {}, {}, {}
        for smelt_id, *row, rank, reserved_by in self.database.rows(ROWS):
            number = self.numbers[smelt_id]
            row[8] = None if row[8] is None else _worker_number(row[8])
            rows[number] = tuple(row)
            reserved[number] = None if reserved_by is None else _worker_number(reserved_by)
            if rank is not None:
                ranks[number] = rank
        return rows, ranks, reserved

    def workers(self) -> tuple[set[int], int | None]:
        """Return the live workers, and the one that purges."""
        [(live, janitor)] = self.database.rows(LIVE_AND_JANITOR)
        return {_worker_number(worker_id) for worker_id in live}, None if janitor is None else _worker_number(janitor)

    def upload(self, number: int) -> None:
        """Insert the object of a smelt, as the Storage API does."""
        path = self.database.value("select upload_path from public.smelt_files where smelt_id = %s", self.ids[number])
        upload(self.database, {"files": [{"upload_path": path, "size_bytes": 1000}]})

    def attempts_of(self, worker: int) -> list[tuple[int, int]]:
        """Return the attempts of a worker, in the order of its claims."""
        return [attempt for attempt, claimed_by in self.claims.items() if claimed_by == worker]

    def _create(self, call: Call, run: Run) -> None:
        content: dict[str, Any] = {"text_input": "text"}
        if call.arguments["is_audio"]:
            content = {"files": [{"filename": "a.mp3", "size_bytes": 1000}], "options": call.arguments["options"]}
        batch = self.batches.get(call.caller) if call.arguments["is_member"] else None
        created = run("create_smelt", **content, batch_id=batch)
        self.ids[call.smelt], self.numbers[created["id"]] = created["id"], call.smelt
        self.creators[call.smelt] = call.caller
        self.files[call.smelt] = created["files"][0]["id"]

    def _submit(self, call: Call, run: Run) -> Any:
        return _state(run("submit_smelt", smelt_id=self.ids[call.smelt]))

    def _cancel(self, call: Call, run: Run) -> Any:
        return _state(run("cancel_smelt", smelt_id=self.ids[call.smelt]))

    def _retry(self, call: Call, run: Run) -> Any:
        return _state(run("retry_smelt", smelt_id=self.ids[call.smelt]))

    def _delete(self, call: Call, run: Run) -> Any:
        run("delete_smelt", smelt_id=self.ids[call.smelt])

    def _claim(self, call: Call, run: Run) -> list[tuple[int, int]]:
        response = run(
            "claim_smelts",
            worker_id=call.caller,
            claim_token=str(UUID(int=call.arguments["token"])),
            max_count=call.arguments["limit"],
            lease_s=LEASE_S,
            expired_leases=call.arguments["with_expired"],
            host="host",
            models=list(WORKERS[call.worker]),
        )
        attempts = [(self.numbers[claim["id"]], claim["attempt"]) for claim in response["smelts"]]
        self.claims |= dict.fromkeys(attempts, call.worker)
        return attempts

    def _report(self, call: Call, run: Run) -> str:
        segments: list[dict[str, Any]] = []
        if call.arguments["is_advanced"]:
            index = self.segment_counts[call.smelt]
            self.segment_counts[call.smelt] += 1
            place = {"index": index, "start": index, "end": index + 1, "text": "word"}
            segments.append({"file_id": self.files[call.smelt], **place})
        response = run(
            "report_smelt_progress",
            **self._attempt(call),
            status=call.arguments["stage"],
            percentage=call.arguments["percentage"],
            risk=call.arguments["risk"],
            segments=segments,
            lease_s=LEASE_S,
        )
        verdict: str = response["verdict"]
        return verdict

    def _renew(self, call: Call, run: Run) -> list[str]:
        leases = [{"smelt_id": self.ids[smelt], "attempt": attempt} for smelt, attempt in call.arguments["attempts"]]
        renewed = run("renew_smelt_leases", worker_id=call.caller, leases=leases, lease_s=LEASE_S)["leases"]
        verdicts = {(lease["smelt_id"], lease["attempt"]): lease["verdict"] for lease in renewed}
        return [verdicts[lease["smelt_id"], lease["attempt"]] for lease in leases]

    def _complete(self, call: Call, run: Run) -> tuple[str | None, ...]:
        results = [{"file_id": self.files[call.smelt], "filename": "a.mp3", "content": "# a"}]
        return self._settlement(call, run("complete_smelt", **self._attempt(call), results=results))

    def _fail(self, call: Call, run: Run) -> tuple[str | None, ...]:
        arguments = {"error_code": call.arguments["code"], "transient": call.arguments["is_transient"]}
        return self._settlement(call, run("fail_smelt", **self._attempt(call), **arguments))

    def _release(self, call: Call, run: Run) -> tuple[str | None, ...]:
        return self._settlement(
            call, run("release_smelt", **self._attempt(call), counts=call.arguments["is_failure"], reason="killed")
        )

    def _start(self, call: Call, run: Run) -> None:
        info = {"models": list(WORKERS[call.worker])}
        run("heartbeat_smelt_worker", worker_id=call.caller, info=info, host="host")

    def _stop(self, call: Call, run: Run) -> None:
        run("heartbeat_smelt_worker", worker_id=call.caller, info={}, leaving=True)

    def _claim_outbox(self, call: Call, run: Run) -> None:
        messages = run("claim_smelt_outbox", worker_id=call.caller, max_count=3, lease_s=LEASE_S)
        self._give(call, messages)

    def _settle_outbox(self, call: Call, run: Run) -> None:
        run("settle_smelt_outbox", ids=call.arguments["ids"])
        for number in call.arguments["ids"]:
            # A call beside it may have acknowledged the same.
            if message := self.messages.pop(number, None):
                self.acknowledged.add(_key(message["topic"], message["event"], message["payload"]))

    def _list_expired(self, call: Call, run: Run) -> tuple[list[int], list[int]]:
        listed = run("list_expired_smelts", worker_id=call.caller, lease_s=LEASE_S)
        self.listed[call.worker] = listed
        objects = [self.numbers[entry["smelt_id"]] for entry in listed["objects"]]
        return [self.numbers[smelt_id] for smelt_id in listed["smelts"]], objects

    def _confirm(self, call: Call, run: Run) -> None:
        listed = self.listed[call.worker]
        paths = [entry["path"] for entry in listed["objects"]]
        run("confirm_smelts_purged", paths=paths, smelt_ids=listed["smelts"])

    def _attempt(self, call: Call) -> dict[str, object]:
        return {"smelt_id": self.ids[call.smelt], "attempt": call.attempt}

    def _settlement(self, call: Call, response: dict[str, Any]) -> tuple[str | None, ...]:
        self._give(call, response.get("outbox", []))
        return response["verdict"], response.get("status"), response.get("error_code")

    def _give(self, call: Call, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            before = self.messages.get(message["id"])
            if before is not None and before["worker"] != call.caller:
                raise Violation("a message is leased to one worker", f"{before['worker']}, {call.caller}: {message}")
            self.messages[message["id"]] = message | {"worker": call.caller}


def _worker_number(worker_id: str) -> int:
    return int(worker_id.split()[1])


def _state(response: dict[str, Any]) -> tuple[str, int]:
    return response["status"], response["run"]


def _key(topic: str, event: str, payload: dict[str, Any]) -> tuple[Any, ...]:
    return topic, event, payload.get("run") or payload.get("seq")

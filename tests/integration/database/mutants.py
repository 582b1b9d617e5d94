"""Plant faults in the SQL functions, one at a time, and show that the histories of the core's model detect each.

    scripts/mutants [--only NAME ...] [--examples 100] [--jobs 2]

Each is a replacement in a function of one migration, in a new database. Prints one line of JSON per fault: whether it
is found, by which history and invariant, after how many seconds, and the difference. Exits 1 if one is not found. The
jobs, by default as many as the machine has cores, share one server.
"""

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Final

import psycopg
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from smelt.local.database.postgres import binaries
from tests.integration.database.core_histories import HISTORIES, follow
from tests.integration.database.core_machine import CoreMachine
from tests.integration.database.core_model import Violation
from tests.integration.database.core_project import connect_callers, prepare
from tests.integration.database.db_calls import Database
from tests.integration.database.db_server import MIGRATIONS, Server, apply_schema, cloned, running

MAX_DETAIL_CHARS: Final = 500
RANDOM: Final = settings(phases=[Phase.generate], database=None, deadline=None, suppress_health_check=list(HealthCheck))


@dataclass(frozen=True)
class Mutant:
    """A fault: the name of its migration without the number, and the text that is replaced there."""

    name: str
    migration: str
    text: str
    replacement: str

    def statement(self) -> str:
        """Return the statement that replaces the function with the text."""
        [path] = MIGRATIONS.glob(f"*_{self.migration}.sql")
        content = path.read_text(encoding="utf-8")
        if content.count(self.text) != 1:
            raise ValueError(f"{self.name}: the text occurs {content.count(self.text)} times in {path.name}")
        place = content.index(self.text)
        start, end = content.rindex("create function", 0, place), content.index("$$;", place) + len("$$;")
        function = content[start:end].replace(self.text, self.replacement)
        return function.replace("create function", "create or replace function", 1)


MUTANTS: Final = (
    Mutant(
        "ranks of an owner are not locked",
        "queue",
        "perform pg_advisory_xact_lock(smelt.rank_lock_key(p_owner));",
        "",
    ),
    Mutant(
        "rank ignores the leases of its owner",
        "queue",
        "(select max(l.queue_rank) from smelt.leases as l where l.queue_owner = p_owner)",
        "null::bigint",
    ),
    Mutant(
        "rank is the lowest that was reached",
        "queue",
        "select max(lowest.queue_rank) - 1",
        "select min(lowest.queue_rank) - 1",
    ),
    Mutant(
        "smelts are ranked after a delay in the reverse order",
        "queue",
        "over (partition by o.queue_owner order by s.claimable_at, s.id)",
        "over (partition by o.queue_owner order by s.claimable_at desc, s.id)",
    ),
    Mutant(
        "claim takes a lease that is being renewed",
        "claims",
        """            where l.smelt_id = any (v_locked) and l.expires_at <= p_now and l.risk is null
                and l.smelt_id not in (select x.smelt_id from smelt.suspects as x)
            for update skip locked""",
        """            where l.smelt_id = any (v_locked) and l.expires_at <= p_now and l.risk is null
                and l.smelt_id not in (select x.smelt_id from smelt.suspects as x)""",
    ),
    Mutant("repeated claim ignores its token", "claims", " and l.claim_token = p_claim_token", ""),
    Mutant(
        "claims of a worker run at the same time",
        "claims",
        "perform pg_advisory_xact_lock(hashtextextended('smelt.worker ' || p_worker_id, 0));",
        "",
    ),
    Mutant(
        "expired lease with a risk makes no suspect",
        "claims",
        "where v_risk <> 'external'",
        "where v_risk = 'external'",
    ),
    Mutant(
        "worker with a suspect claims more",
        "claims",
        "v_max_count > 0 and not smelt.has_suspect(p_worker_id, v_now) then",
        "v_max_count > 0 then",
    ),
    Mutant(
        "suspicion ends with any report",
        "progress_reports",
        """            and p_status = any (case x.risk
                when 'decode' then array['decoding', 'transcribing', 'synthesizing']
                else array['transcribing', 'synthesizing']
            end)""",
        "",
    ),
    Mutant(
        "verdict of an older attempt is cancelled",
        "progress_reports",
        "where s.id = p_smelt_id and s.attempt = p_attempt\n        ), 'lost')",
        "where s.id = p_smelt_id\n        ), 'lost')",
    ),
    Mutant(
        "percentage decreases",
        "progress_reports",
        "            p_smelt.percentage,\n            least(",
        "            least(",
    ),
    Mutant(
        "progress does not reset the failures",
        "progress_reports",
        "when v_files.advanced or v_segments.advanced then 0 else p_smelt.failure_count",
        "when v_files.advanced then 0 else p_smelt.failure_count",
    ),
    Mutant(
        "smelt is not locked to be settled",
        "worker_settlement",
        """        perform from public.smelts as s where s.id = p_smelt_id for no key update;
        is_held :=""",
        "        is_held :=",
    ),
    Mutant(
        "repeated failure is lost",
        "worker_settlement",
        "smelt.lock_to_settle(p_smelt_id, p_attempt, '{settled,retrying}')",
        "smelt.lock_to_settle(p_smelt_id, p_attempt, '{settled}')",
    ),
    Mutant(
        "release keeps the attempt",
        "worker_settlement",
        "set attempt = s.attempt + 1, seq = s.seq + 1, updated_at = v_now,\n            claimable_at = v_now + p_delay",
        "set seq = s.seq + 1, updated_at = v_now,\n            claimable_at = v_now + p_delay",
    ),
    Mutant(
        "release loses the rank",
        "worker_settlement",
        "then (select l.queue_rank from smelt.leases as l where l.smelt_id = p_smelt_id)",
        "then smelt.next_rank(s.queue_owner, s.queue_model)",
    ),
    Mutant(
        "one failure more than the limit",
        "outbox_and_settlement",
        "select p_failure_count >= l.max_failures and (",
        "select p_failure_count > l.max_failures and (",
    ),
    Mutant(
        "lease outlives the end",
        "outbox_and_settlement",
        "delete from smelt.leases as l where l.smelt_id = p_smelt.id returning l.risk into v_risk;",
        "select l.risk into v_risk from smelt.leases as l where l.smelt_id = p_smelt.id;",
    ),
    Mutant(
        "end is not sent",
        "outbox_and_settlement",
        "        perform smelt.enqueue_end(v_smelt, v_now, p_send);\n",
        "",
    ),
    Mutant(
        "end does not change seq",
        "outbox_and_settlement",
        "completed_at = v_now, updated_at = v_now, seq = s.seq + 1,",
        "completed_at = v_now, updated_at = v_now,",
    ),
    Mutant(
        "retry leaves a failure in its batch",
        "outbox_and_settlement",
        "failed = b.failed + (new.status = 'failed')::integer - (old.status = 'failed')::integer",
        "failed = b.failed + (new.status = 'failed')::integer",
    ),
    Mutant(
        "batch is counted from its row as it was before",
        "outbox_and_settlement",
        "v_open := v_batch.total - v_batch.completed - v_batch.failed;",
        "v_open := v_batch.total - v_batch.completed;",
    ),
    Mutant(
        "cancel ends a smelt again",
        "client_actions",
        """        if not smelt.is_terminal(v_smelt.status) then
            perform smelt.settle_smelt(p_smelt_id, 'cancelled', true);
        end if;""",
        "        perform smelt.settle_smelt(p_smelt_id, 'cancelled', true);",
    ),
    Mutant(
        "retry keeps the failures",
        "client_actions",
        "attempt = s.attempt + 1, seq = s.seq + 1, failure_count = 0,",
        "attempt = s.attempt + 1, seq = s.seq + 1,",
    ),
    Mutant(
        "retry uses audio that is being removed",
        "client_actions",
        "if p_smelt.audio_state in ('removing', 'removed') and exists (",
        "if p_smelt.audio_state = 'removed' and exists (",
    ),
    Mutant(
        "retry keeps the messages of older runs",
        "client_actions",
        "where o.smelt_id = p_smelt_id and o.run < v_smelt.run",
        "where o.smelt_id = p_smelt_id and o.run < v_smelt.run - 1",
    ),
    Mutant(
        "message is leased to two workers",
        "maintenance",
        "where (o.leased_until is null or o.leased_until <= v_now)\n                and ",
        "where ",
    ),
    Mutant(
        "messages are not locked when they are claimed",
        "maintenance",
        """            limit greatest(coalesce(p_max_count, 20), 0)
            for update skip locked""",
        "            limit greatest(coalesce(p_max_count, 20), 0)",
    ),
    Mutant(
        "smelts of users are deleted after a day",
        "maintenance",
        "p_smelt.is_anonymous\n                and p_smelt.completed_at",
        "p_smelt.completed_at",
    ),
    Mutant(
        "purge is confirmed while the object exists",
        "maintenance",
        """        if found and p_smelt.audio_state = 'removing' then
            raise exception 'the object % still exists', v_path;
        elsif found then
            return false;
        elsif smelt.is_expired(p_smelt) then""",
        "        if smelt.is_expired(p_smelt) then",
    ),
    Mutant(
        "purge that failed is not postponed",
        "maintenance",
        "if found and p_smelt.audio_state = 'removing' then",
        "if false then",
    ),
    Mutant(
        "two janitors purge",
        "maintenance",
        "where j.worker_id is null or j.worker_id = p_worker_id or j.leased_until <= clock_timestamp()",
        "where true",
    ),
)


def first_error(database: Database, mutant: Mutant, examples: int) -> tuple[str, Exception] | None:
    """Return the first history that detects a fault, a known one or `random`, with its error; None without one."""
    database.run(mutant.statement())
    prepare(database)
    callers = connect_callers(database)
    for name, history in HISTORIES.items():
        try:
            follow(history, database, callers)
        except (Violation, psycopg.Error) as error:
            return name, error
    machines: list[CoreMachine] = []

    def machine() -> CoreMachine:
        machines.append(CoreMachine(database, callers))
        return machines[-1]

    try:
        run_state_machine_as_test(machine, settings=settings(RANDOM, max_examples=examples))
    except Exception:
        # Hypothesis repeats the history, in which a fault of two calls at the same time may not occur again.
        errors = [error for error in (machine.core.error for machine in machines) if error is not None]
        if not errors:
            raise
        return "random", errors[0]
    return None


def detect(server: Server, mutant: Mutant, examples: int) -> dict[str, object]:
    """Plant a fault in a new database; return the line to print."""
    began = time.monotonic()
    with (
        cloned(server, f"mutant_{os.getpid()}") as name,
        closing(Database(lambda login: psycopg.connect(server.dsn(login, name)))) as database,
    ):
        history, error = first_error(database, mutant, examples) or (None, None)
    line = {"mutant": mutant.name, "migration": mutant.migration, "found": error is not None, "history": history}
    invariant = error.invariant if isinstance(error, Violation) else error and type(error).__name__
    detail = error and str(error)[:MAX_DETAIL_CHARS]
    return line | {"seconds": round(time.monotonic() - began, 1), "by": invariant, "detail": detail}


def main() -> None:
    """Plant the faults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[mutant.name for mutant in MUTANTS], metavar="NAME")
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    given = parser.parse_args()
    began = time.monotonic()
    mutants = [mutant for mutant in MUTANTS if not given.only or mutant.name in given.only]
    found_count = 0
    with running(binaries()) as server:
        apply_schema(server)
        # Not forked: the server of `running` has an event loop in this process.
        with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
            for ended in as_completed([pool.submit(detect, server, mutant, given.examples) for mutant in mutants]):
                found_count += bool(ended.result()["found"])
                print(json.dumps(ended.result()), flush=True)
    seconds = round(time.monotonic() - began, 1)
    print(json.dumps({"found": found_count, "of": len(mutants), "seconds": seconds}), flush=True)
    sys.exit(found_count < len(mutants))


if __name__ == "__main__":
    main()

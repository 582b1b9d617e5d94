"""Random workers, some of which vanish: nothing is lost, settled twice or decreased."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import groupby, pairwise
from typing import Any, Final
from uuid import UUID

import pytest

from tests.harness.waiting import wait_until
from tests.integration.database.db_calls import Caller, Database, results_for, service, user

SMELTS: Final = 60
USERS: Final = 5
WORKERS: Final = 4
ENDS: Final = ("completed", "failed")

HISTORY_TABLE: Final = """
create table public.history (
    id bigint generated always as identity, smelt_id uuid, run integer, seq bigint, attempt bigint, status text,
    percentage numeric, visible jsonb
);
create function public.remember() returns trigger language plpgsql security definer as $$
begin
    insert into public.history (smelt_id, run, seq, attempt, status, percentage, visible)
    values (
        new.id, new.run, new.seq, new.attempt, new.status, new.percentage,
        to_jsonb(new) - '{seq,updated_at,failure_count,audio_state}'::text[]
    );
    return null;
end
$$;
create trigger remember after insert or update on public.smelts for each row execute function public.remember();
"""


class RandomWorker:
    """A worker that decides at random how it works on a smelt, and whether it settles it."""

    def __init__(self, caller: Caller, name: str) -> None:
        self.caller = caller
        self.name = name
        self.random = random.Random(name)
        self.settled: list[tuple[str, str]] = []
        self.sent: list[dict[str, Any]] = []

    def run(self, finished: threading.Event) -> None:
        """Work until all smelts have ended."""
        while not finished.is_set():
            count = self.random.randrange(1, 4)
            arguments = {"worker_id": self.name, "claim_token": str(UUID(int=self.random.getrandbits(128)))}
            arguments |= {"max_count": count, "host": self.name[-1], "expired_leases": self.random.random() < 0.9}
            claims = self.caller("claim_smelts", **arguments)["smelts"]
            if self.random.random() < 0.2:  # As if the response was lost.
                self.repeat(claims, arguments)
            leases = [{"smelt_id": claim["id"], "attempt": claim["attempt"]} for claim in claims]
            self.random.shuffle(leases)
            self.caller("renew_smelt_leases", worker_id=self.name, leases=leases)
            for claim in claims:
                self.work(claim)
            self.send()

    def repeat(self, claims: list[dict[str, Any]], arguments: dict[str, Any]) -> None:
        """Repeat a claim: it returns no other smelts, unless all of its leases have been lost meanwhile."""
        repeated = self.caller("claim_smelts", **arguments)["smelts"]
        held = {(claim["id"], claim["attempt"]) for claim in claims}
        if claims and not {(claim["id"], claim["attempt"]) for claim in repeated} <= held:
            leases = [{"smelt_id": smelt_id, "attempt": attempt} for smelt_id, attempt in sorted(held)]
            renewed = self.caller("renew_smelt_leases", worker_id=self.name, leases=leases)["leases"]
            assert "go_on" not in {lease["verdict"] for lease in renewed}, (claims, repeated)

    def work(self, claim: dict[str, Any]) -> None:
        """Report a few times, then settle, release or abandon the smelt."""
        key = {"smelt_id": claim["id"], "attempt": claim["attempt"]}
        for _ in range(self.random.randrange(3)):
            checkpoint = {"at": self.random.random()}
            self.caller(
                "report_smelt_progress",
                **key,
                status=self.random.choice(["validating", "decoding", "transcribing", "synthesizing"]),
                percentage=self.random.uniform(0, 100),
                risk=self.random.choice([None, "decode", "model"]),
                files=[{"id": claim["files"][0]["id"], "checkpoint": checkpoint}],
            )
        match self.random.choice(["complete", "complete", "fail", "retry", "release", "killed", "vanish"]):
            case "complete":
                settled = self.caller("complete_smelt", **key, results=results_for(claim))
            case "fail":
                settled = self.caller("fail_smelt", **key, error_code="internal_error")
            case "retry":
                settled = self.caller("fail_smelt", **key, error_code="connection_lost", transient=True)
            case "release":
                settled = self.caller("release_smelt", **key)
            case "killed":
                settled = self.caller("release_smelt", **key, counts=True, reason="killed")
            case _:
                return
        if settled["verdict"] == "settled":
            self.settled.append((claim["id"], settled["completed_at"]))

    def send(self) -> None:
        """Send some messages of the outbox; acknowledge half of them."""
        messages = self.caller("claim_smelt_outbox", worker_id=self.name, max_count=5)
        acknowledged = [message for message in messages if self.random.random() < 0.5]
        self.sent += acknowledged
        ids = [message["id"] for message in acknowledged]
        self.random.shuffle(ids)
        self.caller("settle_smelt_outbox", ids=ids)


@pytest.fixture
def workers(database: Database) -> list[RandomWorker]:
    return [RandomWorker(database.caller(service()), f"worker {index}") for index in range(WORKERS)]


def test_stress_with_random_workers_loses_nothing_and_settles_once(
    database: Database, workers: list[RandomWorker]
) -> None:
    database.run("update smelt.limits set retry_base_s = 0")
    database.run(HISTORY_TABLE)
    clients = [database.caller(user(database.add_user())) for _ in range(USERS)]
    batches = [client("create_smelt_batch")["id"] for client in clients]
    smelts = [
        clients[n % USERS]("create_smelt", text_input=f"notes {n}", batch_id=batches[n % USERS])["id"]
        for n in range(SMELTS)
    ]
    chance = random.Random("clock")

    def disturb() -> None:
        # Expire leases and age messages at random, and cancel a smelt now and then.
        # A locked lease is skipped: renewals lock several of them in another order.
        database.run(
            "update smelt.leases set expires_at = clock_timestamp()"
            " where smelt_id in (select smelt_id from smelt.leases where random() < 0.2 for update skip locked)"
        )
        database.run(
            "update smelt.outbox set created_at = created_at - interval '10 s', leased_by = null, leased_until = null"
            " where id in (select id from smelt.outbox where random() < 0.3 for update skip locked)"
        )
        if (n := chance.randrange(SMELTS * 10)) < SMELTS:
            clients[n % USERS]("cancel_smelt", smelt_id=smelts[n])

    _run_workers(database, workers, disturb)
    ends = dict(database.rows("select id::text, completed_at from public.smelts"))
    assert set(ends) == set(smelts)
    for worker in workers:
        assert all(datetime.fromisoformat(completed_at) == ends[smelt] for smelt, completed_at in worker.settled)
    _check_history(database)
    _check_ends(database)
    _check_outbox_messages(database, workers)


def _run_workers(database: Database, workers: list[RandomWorker], disturb: Callable[[], None]) -> None:
    finished = threading.Event()

    def all_ended() -> bool:
        disturb()
        return not database.value("select count(*) from public.smelts where completed_at is null")

    with ThreadPoolExecutor(len(workers)) as pool:
        runs = [pool.submit(worker.run, finished) for worker in workers]
        try:
            wait_until(all_ended)
        finally:
            finished.set()
        for run in runs:
            run.result()


def _check_history(database: Database) -> None:
    query = "select smelt_id, seq, attempt, percentage, status, visible from public.history order by smelt_id, id"
    for smelt, changes in groupby(database.rows(query), key=lambda row: row[0]):
        for before, after in pairwise(changes):
            assert after[1] == before[1] + (after[5] != before[5]), f"{smelt}: seq grows with what is visible"
            assert after[2] >= before[2], f"{smelt}: the attempt never goes back"
            assert after[3] >= before[3], f"{smelt}: the percentage never goes back"
            assert before[4] not in ENDS, f"{smelt}: an end is final"


def _check_ends(database: Database) -> None:
    assert database.rows("select * from smelt.leases") == []
    assert database.rows("select * from smelt.suspects") == []
    assert database.rows("select smelt_id from smelt.attempts where ended_as is null") == []
    completed = "select id from public.smelts where status = 'completed' order by 1"
    assert database.rows("select smelt_id from public.smelt_results order by 1") == database.rows(completed)
    counted = database.rows("select id, total, completed, failed, status::text from public.smelt_batches order by id")
    found = database.rows(
        "select batch_id, count(*), count(*) filter (where status = 'completed'),"
        " count(*) filter (where status = 'failed'),"
        " case when bool_or(status = 'completed') then 'completed' else 'failed' end"
        " from public.smelts group by 1 order by 1"
    )
    assert counted == found


def _check_outbox_messages(database: Database, workers: list[RandomWorker]) -> None:
    """Assert that every end and every notification was sent or is still unsent, under one event id."""
    sent = {(m["topic"], m["event"], m["event_id"]) for worker in workers for m in worker.sent}
    unsent = set(database.rows("select topic, event, event_id::text from smelt.outbox"))
    sent_counts = Counter((topic, event) for topic, event, _ in sent | unsent)
    ends = database.rows("select 'smelt:' || id, status::text from public.smelts")
    assert {key: count for key, count in sent_counts.items() if key[0].startswith("smelt:")} == dict.fromkeys(ends, 1)
    assert sum(count for (_, event), count in sent_counts.items() if event == "new_notification") == SMELTS

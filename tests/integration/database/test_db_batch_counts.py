"""The counts of a batch, which each change moves by its difference, equal a full count."""

import random
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import pytest

from tests.integration.database.db_bulk import insert_ended, insert_waiting, pages_read
from tests.integration.database.db_calls import Database, results_for, service, user

STEPS: Final = 150
FULL_COUNT: Final = """
    select
        b.id, count(s.id), count(*) filter (where s.status = 'completed'), count(*) filter (where s.status = 'failed')
    from public.smelt_batches as b
    left join public.smelts as s on s.batch_id = b.id
    group by b.id
    order by b.id
"""
FULL_PROGRESS: Final = """
    select
        round(coalesce(avg(case when s.completed_at is null then s.percentage else 100 end), 0), 1),
        case
            when bool_and(s.status = 'pending') is not false then 'pending'
            when bool_or(s.completed_at is null) then 'processing'
            when bool_or(s.status = 'completed') then 'completed'
            else 'failed'
        end
    from public.smelts as s
    where s.batch_id = %s
"""
FULL_ETA: Final = """
    select extract(epoch from max(s.estimated_end_at) - now())::float
    from public.smelts as s
    where s.batch_id = %s and s.completed_at is null
    having bool_and(s.estimated_end_at is not null)
"""


class RandomHistory:
    """Random changes of the smelts of two batches, of which `changed` is the batch changed last."""

    def __init__(self, database: Database, seed: int) -> None:
        self.database = database
        self.random = random.Random(seed)
        self.owner = database.add_user()
        self.client = database.caller(user(self.owner))
        self.worker = database.caller(service())
        self.batches = [self.client("create_smelt_batch")["id"] for _ in range(2)]
        self.claims: list[dict[str, Any]] = []

    def step(self) -> str | None:
        """Change something; return the batch whose progress must now be exact, None if there is none."""
        changes: list[Callable[[], str | None]] = [
            self.create, self.create, self.claim, self.claim, self.report, self.report, self.complete, self.fail,
            self.fail_later, self.release, self.cancel, self.retry, self.delete, self.leave_batch, self.delete_many,
        ]  # fmt: skip
        return self.random.choice(changes)()

    def create(self) -> str | None:
        batch = self.random.choice(self.batches)
        if self.random.random() < 0.3:
            self.client("create_smelt", files=[{"filename": "a.mp3", "size_bytes": 1000}], batch_id=batch)
        else:
            self.client("create_smelt", text_input="text", batch_id=batch)
        return batch

    def claim(self) -> str | None:
        name = f"worker {self.random.random()}"
        self.claims += self.worker("claim_smelts", worker_id=name, max_count=2)["smelts"]
        return None

    def report(self) -> str | None:
        self._settle(
            "report_smelt_progress",
            keep=True,
            status=self.random.choice(["validating", "transcribing", "synthesizing"]),
            percentage=self.random.uniform(0, 100),
            eta_seconds=self.random.choice([None, 100, 200]),
        )
        return None

    def complete(self) -> str | None:
        return self._settle("complete_smelt")

    def fail(self) -> str | None:
        return self._settle("fail_smelt", error_code="internal_error")

    def fail_later(self) -> str | None:
        self._settle("fail_smelt", error_code="connection_lost", transient=True)
        return None

    def release(self) -> str | None:
        self._settle("release_smelt")
        return None

    def cancel(self) -> str | None:
        return self._change("cancel_smelt", "completed_at is null")

    def retry(self) -> str | None:
        return self._change("retry_smelt", "status = 'failed' and audio_state <> 'removing'")

    def delete(self) -> str | None:
        return self._change("delete_smelt", "true")

    def leave_batch(self) -> str | None:
        self.database.run(
            "update public.smelts set batch_id = null where id = (select id from public.smelts order by id limit 1)"
        )
        return None

    def delete_many(self) -> str | None:
        # As a foreign key of the app with `on delete cascade` does.
        self.database.run("delete from public.smelts where right(id::text, 1) = %s", self.random.choice("0123456789"))
        return None

    def _settle(self, call: str, *, keep: bool = False, **arguments: object) -> str | None:
        if not self.claims:
            return None
        claim = self.random.choice(self.claims) if keep else self.claims.pop()
        if call == "complete_smelt":
            arguments = {"results": results_for(claim)}
        settled = self.worker(call, smelt_id=claim["id"], attempt=claim["attempt"], **arguments)
        ended = settled["verdict"] == "settled" and settled["error_code"] != "cancelled"
        batch: str | None = self.database.value(
            "select max(batch_id::text) from public.smelts where id = %s", claim["id"]
        )
        return batch if ended else None

    def _change(self, call: str, condition: str) -> str | None:
        found = self.database.rows(f"select id::text, batch_id::text from public.smelts where {condition} order by id")
        if not found:
            return None
        smelt, batch = self.random.choice(found)
        self.client(call, smelt_id=smelt)
        return str(batch) if batch else None


def assert_counts_are_exact(database: Database) -> None:
    counts = "select id, total, completed, failed from public.smelt_batches order by id"
    assert database.rows(counts) == database.rows(FULL_COUNT)


@pytest.mark.parametrize("seed", range(3))
def test_batch_counts_equal_a_full_count_after_random_changes(database: Database, seed: int) -> None:
    database.run("update smelt.limits set retry_base_s = 0, max_open = 1000, max_failures = 1000")
    database.run("update smelt.limits set max_failures_on_one_host = 1000")
    history = RandomHistory(database, seed)
    for _ in range(STEPS):
        batch = history.step()
        assert_counts_are_exact(database)
        if batch is not None:
            found = database.rows("select progress, status from public.smelt_batches where id = %s", batch)
            assert found == database.rows(FULL_PROGRESS, batch)
            eta = database.value(
                "select (payload ->> 'eta_seconds')::float from smelt.outbox where topic = %s", f"smelt-batch:{batch}"
            )
            expected = database.rows(FULL_ETA, batch) or [(None,)]
            assert eta == (expected[0][0] and pytest.approx(max(expected[0][0], 0), abs=20))
    database.run("delete from public.smelt_batches where id = %s", history.batches[0])
    assert_counts_are_exact(database)
    database.run("delete from auth.users where id = %s", history.owner)
    assert database.value("select count(*) from public.smelts") == 0


def test_batch_counts_are_exact_after_concurrent_ends_and_creates(database: Database, owner: str) -> None:
    batch = database.caller(user(owner))("create_smelt_batch")["id"]
    insert_waiting(database, [owner], 40, batch_id=batch)
    claims = database.caller(service())("claim_smelts", worker_id="worker", max_count=40)["smelts"]

    def end(part: int) -> None:
        worker, client = database.caller(service()), database.caller(user(owner))
        for claim in claims[part::4]:
            worker("complete_smelt", smelt_id=claim["id"], attempt=claim["attempt"], results=results_for(claim))
            client("create_smelt", text_input="text", batch_id=batch)

    with ThreadPoolExecutor(4) as pool:
        ends: list[Future[None]] = [pool.submit(end, part) for part in range(4)]
        for ended in ends:
            ended.result()
    assert_counts_are_exact(database)
    assert database.rows("select total, completed from public.smelt_batches") == [(80, 40)]


def test_batch_of_thousands_is_not_read_by_a_create_or_an_end(database: Database, owner: str) -> None:
    client = database.caller(user(owner))
    small, large = (client("create_smelt_batch")["id"] for _ in range(2))
    pages = {}
    for batch, count in ((small, 10), (large, 10_000)):
        insert_ended(database, owner, count, batch_id=batch)
        insert_waiting(database, [owner], count, batch_id=batch)
        database.run("analyze")
        cancelled = database.value(
            "select max(id::text) from public.smelts where batch_id = %s and status = 'pending'", batch
        )
        pages[batch] = (
            pages_read(database, "select smelt.update_batch_progress(%s, null, true)", batch),
            pages_read(database, "select smelt.settle_smelt(%s, 'cancelled', false)", cancelled, warm_calls=0),
        )
    # Deeper indexes cost a few pages more; a count would read all pages of the table.
    all_pages = database.value("select pg_relation_size('public.smelts') / current_setting('block_size')::integer")
    for before, after in zip(pages[small], pages[large], strict=True):
        assert after < before + all_pages / 4
    assert_counts_are_exact(database)

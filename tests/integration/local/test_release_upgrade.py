"""A project of the last release with rows of every kind gets the migrations of a next one, by both ways of users."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from smelt.backend.worker_rpc import Health
from smelt.contract.schema_version import SCHEMA_VERSION
from smelt.distribution import supabase_folder
from smelt.local import LocalStack, StackHandle
from tests.harness.stacks import POSTGREST, running_local
from tests.integration.database.db_calls import (
    Caller,
    Database,
    anon,
    claimed,
    expire_leases,
    results_for,
    service,
    submitted,
    upload,
    user,
)
from tests.integration.local.supabase_cli import needs_cli, supabase

NEXT_MIGRATION: Final = "20991231000000_next_release.sql"
NEXT_RELEASE: Final = f"""
alter table public.smelts add column planted integer not null default 7;
create or replace function smelt.get_smelt_models() returns jsonb
    language sql stable security definer
    set search_path = ''
    as $$ select '["planted"]'::jsonb $$;
update smelt.schema_version set version = {SCHEMA_VERSION + 1};
"""
TABLES: Final = """
select n.nspname || '.' || c.relname
from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
where n.nspname in ('public', 'smelt') and c.relkind = 'r' and c.relname <> 'schema_version'
"""


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """The `supabase/` folder of the last release."""
    folder = tmp_path / "released" / "supabase"
    lines = (supabase_folder() / "released-migrations.sha256").read_text(encoding="utf-8").splitlines()
    (folder / "migrations").mkdir(parents=True)
    for name in ("config.toml", *(line.split()[1] for line in lines if not line.startswith("#"))):
        shutil.copyfile(supabase_folder() / name, folder / name)
    return folder


@pytest.fixture
def upgraded(tmp_path: Path, released: Path) -> Path:
    """The same folder after `smelt init` of a next release."""
    folder = shutil.copytree(released, tmp_path / "upgraded" / "supabase")
    (folder / "migrations" / NEXT_MIGRATION).write_text(NEXT_RELEASE, encoding="utf-8")
    return folder


@contextmanager
def opened(stack: StackHandle) -> Iterator[Database]:
    """Open sessions of all roles in the database of a stack."""
    database = Database(lambda login: psycopg.connect(make_conninfo(stack.admin_dsn, user=login)))
    try:
        yield database
    finally:
        database.close()


def fill(database: Database) -> dict[str, Any]:
    """Insert rows of every kind by the calls of clients and of a worker; return the claim that the worker holds."""
    owner, worker = database.caller(user(database.add_user())), database.caller(service())
    batch = owner("create_smelt_batch")["id"]
    owner("create_smelt_webhook", url="https://example.com/ends")
    owner.rows("insert into public.smelt_prompts (name, content) values ('minutes', 'Write minutes.')")
    worker("heartbeat_smelt_worker", worker_id="worker", info={"models": ["small"]})
    _fill_ended(database, owner, worker, batch)
    # A suspect, whose worker stopped while it decoded.
    submitted(database, owner)
    claim = claimed(worker)
    worker("report_smelt_progress", smelt_id=claim["id"], attempt=claim["attempt"], status="decoding", risk="decode")
    expire_leases(database)
    claimed(worker, "other", lease_s=3600)
    # One that waits for a delay, one in progress, one that is due, and one of a visitor.
    submitted(database, owner)
    claim = claimed(worker)
    worker("release_smelt", smelt_id=claim["id"], attempt=claim["attempt"], retry_after_s=3600)
    submitted(database, owner, batch_id=batch)
    claim = claimed(worker)
    _report(worker, claim)
    submitted(database, owner)
    database.caller(anon())("create_smelt", text_input="notes")
    return claim


def _fill_ended(database: Database, owner: Caller, worker: Caller, batch: str) -> None:
    """Complete a smelt and fail one, cancel one before it is submitted, and confirm its purge too early."""
    submitted(database, owner, batch_id=batch)
    claim = claimed(worker)
    worker("complete_smelt", smelt_id=claim["id"], attempt=claim["attempt"], results=results_for(claim))
    submitted(database, owner, batch_id=batch)
    claim = claimed(worker)
    worker("fail_smelt", smelt_id=claim["id"], attempt=claim["attempt"], error_code="internal_error")
    draft = owner("create_smelt", files=[{"filename": "a.mp3", "size_bytes": 1000}])
    upload(database, draft)
    owner("cancel_smelt", smelt_id=draft["id"])
    expired = worker("list_expired_smelts", worker_id="worker")
    worker("confirm_smelts_purged", paths=[], smelt_ids=expired["smelts"])


def _report(worker: Caller, claim: dict[str, Any]) -> None:
    """Save a segment, a checkpoint and an output of the first file of a claim."""
    file_id = claim["files"][0]["id"]
    worker(
        "report_smelt_progress",
        smelt_id=claim["id"],
        attempt=claim["attempt"],
        status="synthesizing",
        files=[{"id": file_id, "status": "processing", "stage": "synthesizing", "checkpoint": {"transcribed_s": 1}}],
        segments=[{"file_id": file_id, "index": 0, "start": 0, "end": 1, "text": "words"}],
        outputs=[{"file_id": file_id, "position": 0, "title": "Summary", "content": "A", "is_complete": False}],
        lease_s=3600,
    )


def contents(database: Database) -> dict[str, list[str]]:
    """Return the rows of each table of smelt, without the column of the next release."""
    return {
        table: sorted(row for (row,) in database.rows(f"select (to_jsonb(t) - 'planted')::text from {table} as t"))
        for (table,) in database.rows(TABLES)
    }


def check_upgraded(database: Database, before: dict[str, list[str]]) -> None:
    """Assert that the next migration is applied and recorded, and that all rows are as before."""
    assert contents(database) == before
    assert database.rows("select distinct planted from public.smelts") == [(7,)]
    assert database.rows("select version, compatible_from from smelt.schema_version") == [(SCHEMA_VERSION + 1, 1)]
    assert database.caller(service())("get_smelt_models") == ["planted"]
    newest = "select max(version) from supabase_migrations.schema_migrations"
    assert database.value(newest) == NEXT_MIGRATION.partition("_")[0]


def check_work_goes_on(database: Database, claim: dict[str, Any]) -> None:
    """Assert that the worker of before is compatible, completes its smelt, and claims those that are due."""
    worker = database.caller(service())
    Health.model_validate(worker("get_smelt_health")).require_compatible()
    results = results_for(claim)
    settled = worker("complete_smelt", smelt_id=claim["id"], attempt=claim["attempt"], results=results)
    assert (settled["verdict"], settled["status"]) == ("settled", "completed")
    due = worker("claim_smelts", worker_id="worker", max_count=100)["smelts"]
    assert len(due) == 2
    assert worker("claim_smelt_webhook_deliveries", worker_id="worker") != []


async def test_upgrade_of_an_embedded_stack_keeps_all_rows_and_its_work(
    tmp_path: Path, released: Path, upgraded: Path
) -> None:
    """A stack with data of the last release starts with the migrations of the next one, then with the last again."""
    folder = tmp_path / "stack"
    async with LocalStack(folder, migrations=released, postgrest=POSTGREST) as stack:
        with opened(stack) as database:
            claim = fill(database)
            before = contents(database)
            assert [table for table, rows in before.items() if not rows] == []
    async with LocalStack(folder, migrations=upgraded, postgrest=POSTGREST) as stack:
        with opened(stack) as database:
            check_upgraded(database, before)
    async with LocalStack(folder, migrations=released, postgrest=POSTGREST) as stack:
        with opened(stack) as database:
            check_upgraded(database, before)
            check_work_goes_on(database, claim)


@needs_cli
def test_upgrade_by_the_supabase_cli_keeps_all_rows_and_its_work(released: Path, upgraded: Path) -> None:
    with running_local(released) as stack, opened(stack) as database:
        claim = fill(database)
        before = contents(database)
        supabase("db", "push", "--yes", stack=stack, project=upgraded.parent)
        check_upgraded(database, before)
        check_work_goes_on(database, claim)

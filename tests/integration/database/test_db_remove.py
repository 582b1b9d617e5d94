"""The migration that `smelt remove` writes, and smelt's first migration on a project that is not ready."""

from typing import Any

import psycopg
import pytest
from psycopg import errors

from smelt.cli.remove import removal
from smelt.local.database.postgres import SUPERUSER
from tests.integration.database.db_calls import Database
from tests.integration.database.db_server import MIGRATIONS

LEFT = """
    select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('public', 'smelt') or c.relname ~ 'smelt'
    union all select proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname in ('public', 'smelt')
    union all select policyname from pg_policies
    union all select tgname from pg_trigger where tgname ~ 'smelt'
    union all select nspname from pg_namespace where nspname = 'smelt'
    union all select id from storage.buckets
    union all select tablename from pg_publication_tables where schemaname = 'public'
"""


def remove(database: Database, *before: str) -> None:
    """Run statements and the removal as the owner, in one transaction, as the CLI applies a migration."""
    with database.session("postgres") as connection:
        for statement in (*before, removal()):
            connection.execute(statement.encode())


def names(connection: psycopg.Connection[Any]) -> set[str]:
    return {name for (name,) in connection.execute(LEFT.encode())}


def test_remove_leaves_nothing_of_smelt_and_the_tables_of_the_app(database: Database) -> None:
    remove(database, "create table public.app (id integer primary key)", "insert into public.app values (1)")
    with database.session("postgres") as connection:
        assert names(connection) == {"public.app", "public.app_pkey"}
        assert connection.execute("select id from public.app").fetchall() == [(1,)]
        for path in sorted(MIGRATIONS.glob("*.sql")):
            connection.execute(path.read_bytes())
        assert connection.execute("select public.get_smelt_health() is not null").fetchone() == (True,)


def test_remove_changes_nothing_while_the_app_refers_to_smelts(database: Database) -> None:
    app = "create table public.app (smelt_id uuid references public.smelts)"
    with pytest.raises(errors.DependentObjectsStillExist, match="smelts"):
        remove(database, app)
    with database.session("postgres") as connection:
        assert "public.smelts" in names(connection)


def test_remove_rejects_a_bucket_with_recordings(database: Database) -> None:
    with database.session(SUPERUSER) as connection:
        connection.execute("set session_replication_role = replica")  # The object was never announced.
        connection.execute("insert into storage.objects (bucket_id, name) values ('smelt-audio', 'a.wav')")
    with pytest.raises(errors.RaiseException, match="smelt-audio is not empty"):
        remove(database)


def test_migrations_reject_a_project_whose_realtime_has_not_started(database: Database) -> None:
    with database.session(SUPERUSER) as connection:
        connection.execute("drop schema smelt cascade")
        connection.execute("drop table realtime.messages cascade")
    first = min(MIGRATIONS.glob("*.sql"))
    with database.session("postgres") as connection, pytest.raises(errors.RaiseException, match="have not started"):
        connection.execute(first.read_bytes())

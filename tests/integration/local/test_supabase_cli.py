"""The Supabase CLI works with an embedded stack as a remote database."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from smelt.distribution import supabase_folder
from smelt.local import StackHandle
from tests.harness.stacks import running_local
from tests.integration.local.supabase_cli import needs_cli, supabase

VERSIONS = sorted(path.name.split("_")[0] for path in (supabase_folder() / "migrations").glob("*.sql"))

pytestmark = needs_cli


@pytest.fixture(scope="module")
def migrated() -> Iterator[StackHandle]:
    """A stack that has applied smelt's migrations."""
    with running_local() as stack:
        yield stack


def test_supabase_cli_push_applies_the_migrations_once(tmp_path: Path) -> None:
    """The second push has nothing to do."""
    with running_local(tmp_path) as stack:
        supabase("db", "push", "--yes", stack=stack)
        with psycopg.connect(stack.db_url) as connection:
            rows = connection.execute("select version from supabase_migrations.schema_migrations order by version")
            assert [version for (version,) in rows] == VERSIONS
        assert "up to date" in supabase("db", "push", "--yes", stack=stack).stdout


def test_supabase_cli_reset_rebuilds_the_database() -> None:
    """Other objects are removed and the migrations applied again; the platform's own schemas stay."""
    with running_local() as stack:
        with psycopg.connect(stack.db_url) as connection:
            connection.execute("create table public.made_by_hand (); create schema mine")
        supabase("db", "reset", "--yes", stack=stack)
        with psycopg.connect(stack.db_url) as connection:
            gone = "select to_regclass('public.made_by_hand'), to_regnamespace('mine')"
            assert connection.execute(gone).fetchone() == (None, None)
            assert connection.execute("select count(*) from storage.buckets where id = 'smelt-audio'").fetchone() == (
                1,
            )
            rows = connection.execute("select version from supabase_migrations.schema_migrations order by version")
            assert [version for (version,) in rows] == VERSIONS


def test_supabase_cli_lists_the_migrations_of_the_stack_as_applied(migrated: StackHandle) -> None:
    """The stack records migrations in the CLI's format: the local and remote lists are equal."""
    listed = supabase("migration", "list", stack=migrated).stdout
    assert re.findall(r"`(\d{14})` *\| `(\d{14})`", listed) == [(version, version) for version in VERSIONS]


def test_supabase_cli_generates_types(migrated: StackHandle) -> None:
    """The types contain the tables and functions that apps use."""
    types = supabase("gen", "types", "--lang", "typescript", stack=migrated).stdout
    assert re.search(r'"smelts": \{\s*Row: \{', types)
    assert re.search(r'"create_smelt":', types)
    assert "smelt_id" in types


def test_supabase_cli_advisors_report_open_tables_and_search_paths(migrated: StackHandle) -> None:
    """A table without row level security and a definer function without a search path are reported."""
    with psycopg.connect(migrated.db_url) as connection:
        connection.execute("create table public.open_to_all (id int primary key)")
        connection.execute("create function public.as_owner() returns int language sql security definer as 'select 1'")
    output = supabase("db", "advisors", "--level", "info", "--output-format", "json", stack=migrated).stdout
    findings = {(finding["name"], finding["metadata"]["name"]) for finding in json.loads(output)["results"]}
    assert ("rls_disabled_in_public", "open_to_all") in findings
    assert ("function_search_path_mutable", "as_owner") in findings

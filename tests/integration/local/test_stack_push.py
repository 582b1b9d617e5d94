"""The Supabase CLI and an embedded stack agree on what is applied."""

import subprocess
from pathlib import Path

import psycopg
import pytest
from stack_projects import write_project

from smelt.local import LocalCluster, migrations

CLI = Path(__file__).parents[2] / "js" / "node_modules" / ".bin" / "supabase"

pytestmark = pytest.mark.skipif(not CLI.exists(), reason="the Supabase CLI is missing: run `npm install` in tests/js")


def push(db_url: str) -> str:
    """Push smelt's migrations with the CLI, and answer what it says."""
    command = [str(CLI), "db", "push", "--db-url", db_url, "--yes"]
    done = subprocess.run(
        command, cwd=migrations.find().parent, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def versions(db_url: str) -> list[str]:
    with psycopg.connect(db_url) as connection:
        rows = connection.execute("select version from supabase_migrations.schema_migrations order by version")
        return [version for (version,) in rows]


async def test_the_cli_applies_the_migrations_to_an_empty_stack_once(
    tmp_path: Path, local_cluster: LocalCluster
) -> None:
    """`supabase db push` applies smelt's migrations unchanged, and the second time finds nothing to do."""
    expected = sorted(path.name.split("_")[0] for path in (migrations.find() / "migrations").glob("*.sql"))
    async with local_cluster.fresh(write_project(tmp_path / "supabase")) as stack:
        assert "Applying migration" in push(stack.db_url)
        assert versions(stack.db_url) == expected
        assert "up to date" in push(stack.db_url)


async def test_the_cli_finds_nothing_to_do_where_the_stack_applied(local_cluster: LocalCluster) -> None:
    """What a stack applied itself is recorded as the CLI records it."""
    async with local_cluster.fresh() as stack:
        assert "up to date" in push(stack.db_url)

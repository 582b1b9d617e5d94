"""A data folder of another version of smelt is upgraded, or rejected with one sentence."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from smelt.local import LocalCluster, LocalPermanentError, LocalStack
from smelt.local.database import schemas
from tests.harness.stacks import POSTGREST
from tests.integration.local.stack_projects import write_project


@pytest.fixture
async def database(local_cluster: LocalCluster, tmp_path: Path) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A superuser session in a database with the platform's schemas of this version."""
    (tmp_path / "supabase").mkdir()
    async with (
        local_cluster.fresh(tmp_path / "supabase") as stack,
        await psycopg.AsyncConnection.connect(stack.admin_dsn, autocommit=True) as connection,
    ):
        yield connection


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """The platform of a later version, with another file."""
    folder = tmp_path / "platform"
    shutil.copytree(schemas.PLATFORM, folder)
    (folder / "99_later.sql").write_text("create table auth.later (id int); insert into auth.later values (1);")
    return folder


async def test_platform_upgrade_runs_a_new_file_once(database: psycopg.AsyncConnection[Any], later: Path) -> None:
    for _ in range(2):
        await schemas.upgrade(database, later)
    rows = await database.execute("select id from auth.later")
    assert await rows.fetchall() == [(1,)]


async def test_platform_upgrade_retries_a_file_that_failed(database: psycopg.AsyncConnection[Any], later: Path) -> None:
    """The changes of the failed file are rolled back and not recorded."""
    whole = (later / "99_later.sql").read_text()
    (later / "99_later.sql").write_text(f"{whole} select 1 / 0;")
    with pytest.raises(psycopg.errors.DivisionByZero):
        await schemas.upgrade(database, later)
    (later / "99_later.sql").write_text(whole)
    await schemas.upgrade(database, later)


async def test_platform_upgrade_rejects_changed_unknown_or_missing_records(
    database: psycopg.AsyncConnection[Any], later: Path
) -> None:
    """A database from a later version, or from before versions were recorded, is also rejected."""
    await schemas.upgrade(database, later)
    with pytest.raises(LocalPermanentError, match="another version of smelt"):
        await schemas.upgrade(database)
    (later / "99_later.sql").write_text("create table auth.later (id bigint)")
    with pytest.raises(LocalPermanentError, match="another version of smelt"):
        await schemas.upgrade(database, later)
    await database.execute("drop table smelt_platform.files")
    with pytest.raises(LocalPermanentError, match="another version of smelt"):
        await schemas.upgrade(database)


async def test_start_rejects_a_data_folder_of_another_smelt_version(tmp_path: Path) -> None:
    project = write_project(tmp_path / "supabase")
    async with LocalStack(tmp_path / "stack", migrations=project, postgrest=POSTGREST) as stack:
        with psycopg.connect(stack.admin_dsn) as connection:
            connection.execute("update smelt_platform.files set sha256 = 'of another version'")
    with pytest.raises(LocalPermanentError, match=r"created by another version of smelt.*`smelt local reset`"):
        async with LocalStack(tmp_path / "stack", migrations=project, postgrest=POSTGREST):
            pass

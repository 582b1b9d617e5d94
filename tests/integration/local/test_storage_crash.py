"""Objects after a stack was killed."""

import asyncio
import os
import signal
import stat
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import httpx
import psycopg

from smelt.local import LocalStack
from smelt.local.processes.waiting import until
from tests.harness import waiting
from tests.harness.stacks import POSTGREST

TIMEOUT_S = 30.0


BLOCK_COMMIT = """
create function public.wait_for_lock() returns trigger language plpgsql as
    $$ begin perform pg_advisory_xact_lock(1); return new; end $$;
create trigger wait_for_lock before insert on storage.objects
    for each row when (new.metadata ? 'eTag') execute function public.wait_for_lock();
"""
"""Only the row of a complete file has an eTag."""
BLOCKED = "select pid from pg_stat_activity where wait_event = 'advisory' and usename = 'supabase_storage_admin'"


async def test_death_of_the_database_during_an_upload_leaves_no_bytes_after_the_next_start(tmp_path: Path) -> None:
    """The row may have been committed, so that its file stays until the next start."""
    project, folder = tmp_path / "project", tmp_path / "stack"
    project.mkdir()
    body = b"x" * 300_000

    def stored() -> list[Path]:
        return [path for path in (folder / "storage").rglob("*") if path.is_file()]

    async with LocalStack(folder, migrations=project, postgrest=POSTGREST) as stack:
        key = {"apikey": stack.secret_key}
        async with httpx.AsyncClient(base_url=f"{stack.api_url}/storage/v1", headers=key, timeout=TIMEOUT_S) as http:
            (await http.post("/bucket", json={"name": "b"})).raise_for_status()
            with psycopg.connect(stack.admin_dsn, autocommit=True) as database:
                database.execute(BLOCK_COMMIT)
                database.execute("select pg_advisory_lock(1)")
                uploading = asyncio.create_task(http.post("/object/b/lost", content=body))
                await waiting.until(lambda: database.execute(BLOCKED).fetchone())
                [(blocked,)] = database.execute(BLOCKED).fetchall()
                # Postgres ends all other sessions when one of them crashes.
                os.kill(blocked, signal.SIGKILL)
            assert (await uploading).status_code == 500
        assert [path.read_bytes() for path in stored()] == [body]

    async with LocalStack(folder, migrations=project, postgrest=POSTGREST) as stack:
        assert stored() == []
        with psycopg.connect(stack.db_url) as database:
            assert database.execute("select name from storage.objects").fetchall() == []


async def test_sigkill_during_an_upload_keeps_only_whole_objects(tmp_path: Path) -> None:
    """After SIGKILL, stored objects are complete, and of unfinished uploads neither row nor file is left."""
    project, folder = tmp_path / "project", tmp_path / "stack"
    project.mkdir()
    incoming = folder / "storage" / ".incoming"
    half_written = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"x" * 3_000_000
        await half_written.wait()

    async with LocalStack(folder, migrations=project, postgrest=POSTGREST) as stack:
        key = {"apikey": stack.secret_key}
        async with httpx.AsyncClient(base_url=f"{stack.api_url}/storage/v1", headers=key) as http:
            (await http.post("/bucket", json={"name": "b"})).raise_for_status()
            (await http.post("/object/b/whole", content=b"whole")).raise_for_status()
            uploading = asyncio.create_task(http.post("/object/b/half", content=body()))
            assert await until(lambda: any(path.stat().st_size for path in incoming.iterdir()), TIMEOUT_S)
            os.kill(stack.state.pid, signal.SIGKILL)
            half_written.set()
            with suppress(httpx.TransportError):
                await uploading
    # As after a crash between writing the file and its row.
    (folder / "storage" / "b" / "nobodys").mkdir()
    (folder / "storage" / "b" / "nobodys" / "version").write_bytes(b"orphan")

    async with (
        LocalStack(folder, migrations=project, postgrest=POSTGREST) as stack,
        httpx.AsyncClient(base_url=f"{stack.api_url}/storage/v1", headers={"apikey": stack.secret_key}) as http,
    ):
        listed = await http.post("/object/list/b", json={"prefix": ""})
        assert [entry["name"] for entry in listed.json()] == ["whole"]
        assert (await http.get("/object/b/whole")).content == b"whole"
        assert (await http.post("/object/b/half", content=b"now")).status_code == 200
        files = [path.read_bytes() for path in (folder / "storage").rglob("*") if path.is_file()]
        assert sorted(files) == [b"now", b"whole"]
        for private in ("storage", "logs"):
            assert stat.S_IMODE((folder / private).stat().st_mode) == 0o700, "readable by other users"

"""An embedded stack starts, restarts its services, keeps its data, and cleans up."""

import json
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import psycopg
import pytest

from smelt.local import LocalCluster, LocalPermanentError, LocalStack, StackHandle
from smelt.local.account import database_account
from smelt.local.supervisor import cleanup
from tests.harness.impostors import needs_root
from tests.harness.processes import assert_ended, assert_free, capabilities, named, process_tree, started
from tests.harness.stacks import POSTGREST
from tests.harness.waiting import wait_until
from tests.integration.local.stack_projects import NOTES, add_migration, write_project

OWNER = """
import asyncio, sys
from pathlib import Path
from smelt.local import LocalStack
from smelt.settings import LocalSettings

async def main():
    async with LocalStack(migrations=Path(sys.argv[1]), postgrest=LocalSettings.read().postgrest) as stack:
        print(stack.state.dump(), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "supabase", NOTES)


def bodies(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [body for (body,) in connection.execute("select body from public.notes order by id")]


def insert(url: str, body: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("insert into public.notes (body) values (%s)", (body,))


def health(stack: StackHandle) -> tuple[int, object]:
    response = httpx.get(f"{stack.api_url}/health", timeout=30)
    return response.status_code, response.json()


async def test_restart_keeps_data_applies_new_migrations_and_seeds_once(tmp_path: Path, project: Path) -> None:
    """A second start keeps the rows and applies new migrations; the seed runs only once."""
    (project / "seed.sql").write_text("insert into public.notes (body) values ('seeded');")
    async with LocalStack(tmp_path / "stack", migrations=project) as stack:
        insert(stack.db_url, "kept")
    add_migration(project, 2, "alter table public.notes add column done boolean not null default false;")
    async with LocalStack(tmp_path / "stack", migrations=project) as stack:
        assert bodies(stack.db_url) == ["seeded", "kept"]
        with psycopg.connect(stack.db_url) as connection:
            history = connection.execute("select version, name from supabase_migrations.schema_migrations order by 1")
            assert history.fetchall() == [("20250101000001", "step_1"), ("20250101000002", "step_2")]
            assert connection.execute("select done from public.notes").fetchall() == [(False,), (False,)]


async def test_migration_that_fails_ends_the_start_and_is_rolled_back(tmp_path: Path, project: Path) -> None:
    """The error has the file and the message of Postgres; the changes of the file are rolled back."""
    async with LocalStack(tmp_path / "stack", migrations=project):
        pass
    add_migration(project, 2, "create table public.half (id int); select 1 / 0;")
    with pytest.raises(LocalPermanentError, match=r"^migration 20250101000002_step_2\.sql fails: division by zero$"):
        async with LocalStack(tmp_path / "stack", migrations=project):
            pass
    (project / "migrations" / "20250101000002_step_2.sql").unlink()
    async with LocalStack(tmp_path / "stack", migrations=project) as stack:
        with psycopg.connect(stack.db_url) as connection:
            assert connection.execute("select to_regclass('public.half')").fetchone() == (None,)


async def test_start_of_a_second_stack_in_one_folder_is_rejected(tmp_path: Path, project: Path) -> None:
    async with LocalStack(tmp_path / "stack", migrations=project):
        with pytest.raises(LocalPermanentError, match="already running"):
            async with LocalStack(tmp_path / "stack", migrations=project):
                pass


@pytest.mark.parametrize("program", ["postgres", "postgrest"])
async def test_crashed_postgres_or_postgrest_is_restarted(project: Path, program: str) -> None:
    """Rows can be read over REST again after Postgres or PostgREST was killed."""
    async with LocalStack(migrations=project, postgrest=POSTGREST) as stack:
        insert(stack.db_url, "before")
        crashed = named(process_tree(stack.state.pid), program)
        assert health(stack) == (200, {"healthy": True})
        if program == "postgrest":
            crashed.suspend()
            assert health(stack) == (503, {"healthy": False})
        crashed.kill()
        assert_ended([crashed])

        def is_served() -> bool:
            url = f"{stack.api_url}/rest/v1/notes?select=body"
            response = httpx.get(url, headers={"apikey": stack.service_role_key}, timeout=30)
            return response.status_code == 200 and response.json() == [{"body": "before"}]

        wait_until(is_served, lambda: "REST does not respond", 30)


async def test_schema_change_is_reloaded_by_postgrest(project: Path, local_cluster: LocalCluster) -> None:
    """PostgREST reloads the schema by itself."""
    async with local_cluster.fresh(project) as stack:
        with psycopg.connect(stack.db_url) as connection:
            connection.execute("create function public.late() returns int language sql as 'select 42'")
        url, headers = f"{stack.api_url}/rest/v1/rpc/late", {"apikey": stack.anon_key}
        call = partial(httpx.post, url, headers=headers, timeout=30)
        wait_until(lambda: call().text == "42", lambda: "the function is not seen", 30)


async def test_stop_ends_processes_frees_ports_and_removes_the_folder(project: Path) -> None:
    """No process, listener or folder is left."""
    async with LocalStack(migrations=project, postgrest=POSTGREST) as stack:
        processes = process_tree(stack.state.pid)
        ports = [urlsplit(url).port for url in (stack.api_url, stack.db_url)]
        folder = _folder(stack.state.pid)
        assert len(processes) > 2
    assert_ended(processes)
    for port in ports:
        assert_free(port)
    assert not folder.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_stack_ends_with_its_owner_after_a_signal(project: Path, number: signal.Signals) -> None:
    """If the owner of a LocalStack is killed, its processes end and its folder is removed."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with started([sys.executable, "-c", OWNER, str(project)], **pipes) as owner:
        state = json.loads(owner.stdout.readline())
        processes, folder = process_tree(state["pid"]), _folder(state["pid"])
        owner.send_signal(number)
        owner.wait(60)
    assert_ended(processes)
    wait_until(lambda: not folder.exists(), lambda: f"{folder} is still there", 30)


@needs_root
async def test_root_runs_postgrest_as_the_account_of_postgres(project: Path) -> None:
    """PostgREST does not get the capability with which Postgres can traverse folders without permission."""
    async with LocalStack(migrations=project, postgrest=POSTGREST) as stack:
        processes = process_tree(stack.state.pid)
        postgres, postgrest = named(processes, "postgres"), named(processes, "postgrest")
        assert postgrest.uids() == postgres.uids()
        assert postgrest.uids().real == database_account().uid
        assert capabilities(postgrest) == 0


async def test_supervisor_kill_ends_every_process_and_keeps_data(tmp_path: Path, project: Path) -> None:
    """The kernel ends the child processes; the next start finds all committed rows."""
    async with LocalStack(tmp_path / "stack", migrations=project) as stack:
        insert(stack.db_url, "committed")
        processes = process_tree(stack.state.pid)
        processes[0].kill()
        # Start at once: the old server may still be stopping.
        async with LocalStack(tmp_path / "stack", migrations=project) as second:
            assert bodies(second.db_url) == ["committed"]
            assert_ended(processes)


async def test_ephemeral_stack_of_a_killed_supervisor_is_cleaned_up_later(project: Path) -> None:
    """A later start removes the folder, but not those of running stacks."""
    async with LocalStack(migrations=project, postgrest=POSTGREST) as stack:
        folder = _folder(stack.state.pid)
        processes = process_tree(stack.state.pid)
        processes[0].kill()
        assert_ended(processes)
        # From now on, any start on this machine may remove the folder.
        async with LocalStack(migrations=project, postgrest=POSTGREST) as second:
            wait_until(lambda: not folder.exists(), lambda: f"{folder} is still there", 30)
            cleanup.sweep(folder.parent)
            assert bodies(second.db_url) == []


async def test_crash_of_all_processes_keeps_committed_rows(tmp_path: Path, project: Path) -> None:
    """All processes are killed at once: Postgres recovers despite its stale lock file."""
    async with LocalStack(tmp_path / "stack", migrations=project) as stack:
        insert(stack.db_url, "committed")
        for process in process_tree(stack.state.pid):
            # The kernel may already have ended the children.
            with suppress(psutil.NoSuchProcess):
                process.kill()
    (tmp_path / "stack" / "postgres" / "postmaster.pid").write_text("1\n/nowhere\n")
    async with LocalStack(tmp_path / "stack", migrations=project) as stack:
        assert bodies(stack.db_url) == ["committed"]


def _folder(supervisor: int) -> Path:
    command = psutil.Process(supervisor).cmdline()
    return Path(command[command.index("--folder") + 1])

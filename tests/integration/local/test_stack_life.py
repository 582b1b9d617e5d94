"""An embedded stack comes up, is kept up, keeps its data, and leaves nothing behind."""

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
from impostors import needs_root
from processes import assert_free, assert_gone, capabilities, family, wait_for
from stack_projects import NOTES, add_migration, write_project

from smelt.local import LocalCluster, LocalRefused, LocalStack, StackHandle, leftovers
from smelt.local.account import database_account

OWNER = """
import asyncio, sys
from pathlib import Path
from smelt.local import LocalStack

async def main():
    async with LocalStack.from_env(migrations=Path(sys.argv[1])) as stack:
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
    answer = httpx.get(f"{stack.api_url}/health", timeout=30)
    return answer.status_code, answer.json()


def named(processes: list[psutil.Process], name: str) -> psutil.Process:
    return next(process for process in processes if Path(process.cmdline()[0]).name == name)


async def test_data_stays_and_new_migrations_are_applied(tmp_path: Path, project: Path) -> None:
    """A second start finds the rows of the first and applies what was added; the seed runs once."""
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


async def test_a_migration_that_fails_ends_the_start(tmp_path: Path, project: Path) -> None:
    """The sentence names the file and what Postgres says; the work of the file is undone."""
    async with LocalStack(tmp_path / "stack", migrations=project):
        pass
    add_migration(project, 2, "create table public.half (id int); select 1 / 0;")
    with pytest.raises(LocalRefused, match=r"^migration 20250101000002_step_2\.sql fails: division by zero$"):
        async with LocalStack(tmp_path / "stack", migrations=project):
            pass
    (project / "migrations" / "20250101000002_step_2.sql").unlink()
    async with LocalStack(tmp_path / "stack", migrations=project) as stack:
        with psycopg.connect(stack.db_url) as connection:
            assert connection.execute("select to_regclass('public.half')").fetchone() == (None,)


async def test_one_folder_holds_one_running_stack(tmp_path: Path, project: Path) -> None:
    async with LocalStack(tmp_path / "stack", migrations=project):
        with pytest.raises(LocalRefused, match="already running"):
            async with LocalStack(tmp_path / "stack", migrations=project):
                pass


@pytest.mark.parametrize("program", ["postgres", "postgrest"])
async def test_what_crashes_is_started_again(project: Path, program: str) -> None:
    """Rows can be read over REST again after Postgres or PostgREST was killed."""
    async with LocalStack.from_env(migrations=project) as stack:
        insert(stack.db_url, "before")
        crashed = named(family(stack.state.pid), program)
        assert health(stack) == (200, {"healthy": True})
        if program == "postgrest":
            crashed.suspend()
            assert health(stack) == (503, {"healthy": False})
        crashed.kill()
        crashed.wait()

        def answers() -> bool:
            url = f"{stack.api_url}/rest/v1/notes?select=body"
            response = httpx.get(url, headers={"apikey": stack.service_role_key}, timeout=30)
            return response.status_code == 200 and response.json() == [{"body": "before"}]

        wait_for(answers, 30, lambda: "REST does not answer any more")


async def test_a_schema_change_reaches_rest(project: Path, local_cluster: LocalCluster) -> None:
    """PostgREST reads the schema again by itself."""
    async with local_cluster.fresh(project) as stack:
        with psycopg.connect(stack.db_url) as connection:
            connection.execute("create function public.late() returns int language sql as 'select 42'")
        url, headers = f"{stack.api_url}/rest/v1/rpc/late", {"apikey": stack.anon_key}
        call = partial(httpx.post, url, headers=headers, timeout=30)
        wait_for(lambda: call().text == "42", 30, lambda: "the function is not seen")


async def test_the_end_of_the_block_leaves_nothing(project: Path) -> None:
    """No process, no listener, no folder."""
    async with LocalStack.from_env(migrations=project) as stack:
        processes = family(stack.state.pid)
        ports = [urlsplit(url).port for url in (stack.api_url, stack.db_url)]
        folder = _folder(stack.state.pid)
        assert len(processes) > 2
    assert_gone(processes)
    for port in ports:
        assert_free(port)
    assert not folder.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_an_owner_that_dies_takes_its_stack_with_it(project: Path, number: signal.Signals) -> None:
    """Whoever runs a LocalStack may be killed: its processes and its folder go too."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(project)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with owner:
        state = json.loads(owner.stdout.readline())
        processes, folder = family(state["pid"]), _folder(state["pid"])
        owner.send_signal(number)
        owner.wait(60)
    assert_gone(processes)
    wait_for(lambda: not folder.exists(), 30, lambda: f"{folder} is still there")


@needs_root
async def test_root_runs_postgrest_as_the_account_of_postgres(project: Path) -> None:
    """And without the capability that lets Postgres pass closed folders."""
    async with LocalStack.from_env(migrations=project) as stack:
        processes = family(stack.state.pid)
        postgres, postgrest = named(processes, "postgres"), named(processes, "postgrest")
        assert postgrest.uids() == postgres.uids()
        assert postgrest.uids().real == database_account().uid
        assert capabilities(postgrest) == 0


async def test_a_killed_supervisor_leaves_no_process_and_keeps_the_data(tmp_path: Path, project: Path) -> None:
    """The kernel ends what it had started; the next start on the folder finds all committed rows."""
    async with LocalStack(tmp_path / "stack", migrations=project) as stack:
        insert(stack.db_url, "committed")
        processes = family(stack.state.pid)
        processes[0].kill()
        # At once: the old server may still be on its way out.
        async with LocalStack(tmp_path / "stack", migrations=project) as second:
            assert bodies(second.db_url) == ["committed"]
            assert_gone(processes)


async def test_a_killed_supervisor_of_a_throw_away_stack_is_cleaned_up_after(project: Path) -> None:
    """Its folder is removed by a later start, which leaves those alone that are in use."""
    async with LocalStack.from_env(migrations=project) as stack:
        folder = _folder(stack.state.pid)
        processes = family(stack.state.pid)
        processes[0].kill()
        assert_gone(processes)
        # From now on whatever starts on this machine may be the one that cleans up.
        async with LocalStack.from_env(migrations=project) as second:
            wait_for(lambda: not folder.exists(), 30, lambda: f"{folder} is still there")
            leftovers.sweep(folder.parent)
            assert bodies(second.db_url) == []


async def test_a_crash_of_everything_keeps_the_data(tmp_path: Path, project: Path) -> None:
    """All processes killed at once, as by a power cut: Postgres recovers, its stale lock file does not matter."""
    async with LocalStack(tmp_path / "stack", migrations=project) as stack:
        insert(stack.db_url, "committed")
        for process in family(stack.state.pid):
            # The kernel may have been quicker with the children.
            with suppress(psutil.NoSuchProcess):
                process.kill()
    (tmp_path / "stack" / "postgres" / "postmaster.pid").write_text("1\n/nowhere\n")
    async with LocalStack(tmp_path / "stack", migrations=project) as stack:
        assert bodies(stack.db_url) == ["committed"]


def _folder(supervisor: int) -> Path:
    command = psutil.Process(supervisor).cmdline()
    return Path(command[command.index("--folder") + 1])

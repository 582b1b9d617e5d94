"""The stacks of a cluster share only the server."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import psycopg
import pytest
from supabase import AsyncClient, AsyncClientOptions, AuthApiError, create_async_client

from smelt.local import LocalCluster, LocalPermanentError, StackHandle
from tests.harness.processes import assert_ended, process_tree, started
from tests.harness.waiting import until
from tests.integration.local.stack_projects import NOTES, write_project

OWNER = """
import asyncio, os
from smelt.local import LocalCluster
from smelt.settings import LocalSettings

async def main():
    async with LocalCluster(postgrest=LocalSettings.read().postgrest) as cluster, cluster.fresh() as stack:
        print(stack.state.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "supabase", NOTES, seed="insert into public.notes (body) values ('seeded');")


@asynccontextmanager
async def user_of(stack: StackHandle) -> AsyncIterator[AsyncClient]:
    """A client that has signed up in a stack."""
    async with httpx.AsyncClient(timeout=60) as http:
        options = AsyncClientOptions(httpx_client=http, auto_refresh_token=False)
        client = await create_async_client(stack.api_url, stack.anon_key, options)
        await client.auth.sign_up({"email": f"{uuid4()}@example.com", "password": "correct horse"})
        try:
            yield client
        finally:
            await client.remove_all_channels()


def notes(stack: StackHandle) -> list[str]:
    with psycopg.connect(stack.db_url) as connection:
        return [body for (body,) in connection.execute("select body from public.notes order by id")]


async def test_config_toml_rate_limit_is_applied_to_a_cluster_stack(
    tmp_path: Path, local_cluster: LocalCluster
) -> None:
    """Load tests can set the limits of a paid plan."""
    project = write_project(tmp_path / "supabase", config="[realtime]\nmax_events_per_second = 2500")
    async with local_cluster.fresh(migrations=project) as stack, httpx.AsyncClient(base_url=stack.api_url) as http:
        response = await http.get("/realtime/v1/api/ping")
        assert response.headers["x-rate-limit"] == "2500"


async def test_stacks_of_a_cluster_are_isolated_from_each_other(project: Path, local_cluster: LocalCluster) -> None:
    """Rows, users, objects, broadcasts and changes of one stack do not reach another, whichever opened first."""
    async with (
        local_cluster.fresh(project) as first,
        user_of(first) as anna,
        local_cluster.fresh(project) as second,
        user_of(second) as bert,
    ):
        received: dict[str, list[str]] = {"anna": [], "bert": []}
        for name, client in (("anna", anna), ("bert", bert)):
            await _subscribe(client, received[name])

        await anna.table("notes").insert({"body": "hers"}).execute()
        folder = (await anna.auth.get_user()).user.id
        await anna.storage.from_("box").upload(f"{folder}/a.txt", b"hers")
        await anna.get_channels()[0].send_broadcast("shout", {})
        await bert.table("notes").insert({"body": "his"}).execute()
        await bert.get_channels()[0].send_broadcast("shout", {})
        # Messages keep their order, so a misdirected one would have arrived by now.
        await until(lambda: all(len(events) == 2 for events in received.values()))
        assert {name: sorted(events) for name, events in received.items()} == {
            "anna": ["hers", "shout"],
            "bert": ["his", "shout"],
        }

        assert (notes(first), notes(second)) == (["seeded", "hers"], ["seeded", "his"])
        service = {"apikey": second.service_role_key}
        async with httpx.AsyncClient(base_url=second.api_url, headers=service) as http:
            assert (await http.post("/storage/v1/object/list/box", json={"prefix": ""})).json() == []
            assert (await http.get(f"/storage/v1/object/box/{folder}/a.txt")).status_code == 400
        with pytest.raises(AuthApiError, match="not exist"):
            await bert.auth.get_user((await anna.auth.get_session()).access_token)


async def _subscribe(client: AsyncClient, received: list[str]) -> None:
    joined, following = asyncio.Event(), asyncio.Event()
    channel = client.channel("room", {"config": {"private": True, "broadcast": {"self": True}}})
    channel.on_broadcast("shout", lambda message: received.append(message["event"]))
    channel.on_postgres_changes(
        "INSERT",
        schema="public",
        table="notes",
        callback=lambda message: received.append(message["data"]["record"]["body"]),
    )
    channel.on_system(lambda _: following.set())
    await channel.subscribe(lambda state, _: joined.set() if state == "SUBSCRIBED" else None)
    async with asyncio.timeout(30):
        await joined.wait()
        await following.wait()


async def test_fresh_stack_contains_only_migrations_and_seed(
    project: Path, local_cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new stack has none of the data of an earlier one."""
    monkeypatch.chdir(project.parent)
    async with local_cluster.fresh(Path(project.name)) as stack:
        with psycopg.connect(stack.db_url) as connection:
            connection.execute("delete from public.notes; create table public.left_behind ()")
    async with local_cluster.fresh(project) as stack:
        assert notes(stack) == ["seeded"]
        with psycopg.connect(stack.db_url) as connection:
            assert connection.execute("select to_regclass('public.left_behind')").fetchone() == (None,)


@pytest.mark.parametrize("name", ["dblink", "unknown_extension"])
async def test_migration_with_an_unavailable_extension_fails_with_a_hint(
    name: str, tmp_path: Path, local_cluster: LocalCluster
) -> None:
    """The extension requires a superuser, or is unknown."""
    project = write_project(tmp_path / "supabase", f"create extension if not exists {name} with schema extensions")
    with pytest.raises(LocalPermanentError, match="supabase start"):
        async with local_cluster.fresh(project):
            pass


async def test_migration_failure_of_one_project_does_not_affect_another(
    project: Path, tmp_path: Path, local_cluster: LocalCluster
) -> None:
    """The error names the migration, and other stacks are not affected; the fixed project starts."""
    broken = write_project(tmp_path / "broken", "create table public.half (id int)", "select 1 / 0")
    async with local_cluster.fresh(project) as stack:
        with pytest.raises(
            LocalPermanentError, match=r"^migration 20250101000002_step_2\.sql fails: division by zero$"
        ):
            async with local_cluster.fresh(broken):
                pass
        (broken / "migrations" / "20250101000002_step_2.sql").unlink()
        async with local_cluster.fresh(broken) as mended:
            with psycopg.connect(mended.db_url) as connection:
                assert connection.execute("select to_regclass('public.half')::text").fetchone() == ("half",)
        assert notes(stack) == ["seeded"]


def test_cluster_ends_with_its_owner_after_sigkill() -> None:
    """No process and no file is left."""
    with started([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        supervisor = int(owner.stdout.readline())
        processes = process_tree(supervisor)
        command = psutil.Process(supervisor).cmdline()
        folder = Path(command[command.index("--folder") + 1])
        assert len(processes) > 3
        owner.kill()
        owner.wait(60)
    assert_ended(processes)
    assert not folder.exists()

"""No code of a project runs in a superuser's session: the role `postgres` stays without its privileges."""

import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from smelt.local import LocalPermanentError, LocalStack, StackHandle
from smelt.local.database import schemas
from smelt.local.keys import Keys
from tests.harness.realtime_socket import connected
from tests.harness.stacks import POSTGREST, running_local
from tests.harness.waiting import until
from tests.integration.local.stack_projects import write_project

# Sequences keep their value when a transaction is rolled back, as the probes of private channels are.
SPY = """
create sequence public.sessions;
create sequence public.superuser_sessions;
grant usage on sequence public.sessions, public.superuser_sessions to public;
create function public.spy() returns boolean language plpgsql as $$
    begin
        perform pg_catalog.nextval('public.sessions');
        if (select r.rolsuper from pg_catalog.pg_roles r where r.rolname = session_user)
            or pg_catalog.current_setting('is_superuser') = 'on'
        then
            perform pg_catalog.nextval('public.superuser_sessions');
        end if;
        return true;
    end
    $$;
"""
PROJECT = f"""
{SPY}
create function public.spy_on_row() returns trigger language plpgsql as $$
    begin
        perform public.spy();
        return coalesce(new, old);
    end
    $$;
create trigger spy before insert or delete on realtime.messages
    for each row execute function public.spy_on_row();
create policy spy on realtime.messages using (public.spy()) with check (public.spy());

create domain public.spied as text check (public.spy());
create type public.pair as (a int, b public.spied);
create table public.traps (id int primary key, name public.spied, pair public.pair);
grant select on public.traps to anon, authenticated;
alter publication supabase_realtime add table public.traps;
"""
INSERT = "insert into public.traps values (1, 'a', row(1, 'b'))"
BINDING = {"event": "INSERT", "schema": "public", "table": "traps"}


@pytest.fixture(scope="module")
def spied_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackHandle]:
    project = write_project(tmp_path_factory.mktemp("spied") / "supabase", PROJECT)
    with running_local(project) as stack:
        yield stack


@pytest.fixture
def owner(spied_stack: StackHandle) -> Iterator[psycopg.Connection]:
    with psycopg.connect(spied_stack.db_url, autocommit=True) as connection:
        yield connection


def calls(connection: psycopg.Connection, sequence: str = "sessions") -> int:
    """Return how often the spy has run: in any session, or in those of superusers."""
    row = connection.execute(f"select case when is_called then last_value else 0 end from public.{sequence}").fetchone()
    assert row is not None
    return int(row[0])


def token(role: str) -> str:
    return Keys().sign({"role": role, "sub": "aaaaaaaa-0000-4000-8000-000000000001", "exp": int(time.time()) + 600})


@pytest.mark.parametrize("role", ["authenticated", "supabase_admin"])
def test_superuser_runs_no_trigger_or_policy_of_a_private_channel(
    spied_stack: StackHandle, owner: psycopg.Connection, role: str
) -> None:
    """The demo secret is public, so anybody can sign a token with the name of any role."""
    before = calls(owner)
    with connected(spied_stack.api_url, spied_stack.anon_key) as socket:
        is_admitted = socket.join("room", token(role))
        if is_admitted:
            socket.broadcast("room", "event")
            assert socket.events_until("room", "event") == ["event"]
    assert is_admitted == (role != "supabase_admin")
    assert calls(owner) > before
    assert calls(owner, "superuser_sessions") == 0


@pytest.mark.parametrize("expression", ["name=eq.a", "name=in.(a,b)", "id=gt.0"])
def test_superuser_runs_no_domain_check_of_a_filter_or_a_change(
    spied_stack: StackHandle, owner: psycopg.Connection, expression: str
) -> None:
    before = calls(owner)
    with connected(spied_stack.api_url, spied_stack.anon_key) as socket:
        signed = token("authenticated")
        assert socket.subscribe("room", signed, [{**BINDING, "filter": expression}]) is not None
        owner.execute("delete from public.traps")
        owner.execute(INSERT)
        assert socket.next_change()["data"]["record"]["pair"] == {"a": 1, "b": "b"}
    assert calls(owner) > before
    assert calls(owner, "superuser_sessions") == 0


def test_superuser_has_no_session_while_the_stack_runs(spied_stack: StackHandle) -> None:
    """No object of a project can run in one."""
    with psycopg.connect(spied_stack.admin_dsn) as connection:
        rows = connection.execute(
            "select usename, application_name, backend_type from pg_catalog.pg_stat_activity a "
            "join pg_catalog.pg_roles r on r.oid = a.usesysid and r.rolsuper "
            "where a.datname = pg_catalog.current_database() and a.pid <> pg_catalog.pg_backend_pid() "
            "and backend_type in ('client backend', 'walsender')"
        ).fetchall()
        replicating = connection.execute("select usename from pg_catalog.pg_stat_replication").fetchall()
    assert rows == []
    assert ("smelt_realtime",) in replicating


@pytest.mark.parametrize(
    "statement",
    [
        "alter publication supabase_realtime set table public.traps where (public.spy())",
        "set role smelt_realtime",
        "grant smelt_realtime to postgres",
        "alter role smelt_realtime superuser",
        "alter role smelt_realtime set search_path = public",
        "alter database postgres set session_preload_libraries = 'x'",
        "create table smelt_platform.mine (id int)",
        "alter schema smelt_platform rename to other",
        "drop schema smelt_platform cascade",
        "create schema other authorization supabase_admin",
        "create trigger spy before insert on smelt_platform.files execute function public.spy_on_row()",
        "create event trigger spy on login execute function public.spy_on_row()",
        "set extension_control_path = '/tmp'",
    ],
)
def test_superuser_objects_and_roles_are_out_of_reach(owner: psycopg.Connection, statement: str) -> None:
    with pytest.raises(psycopg.DatabaseError), owner.transaction():
        owner.execute(statement)


async def test_superuser_reads_no_platform_table_of_a_database_that_the_owner_created(spied_stack: StackHandle) -> None:
    """`postgres` may drop the database of the stack and create another one with the same name."""
    imitation = "create schema smelt_platform; create view smelt_platform.files as select 'x' as name, 'y' as sha256"
    with psycopg.connect(spied_stack.db_url, autocommit=True) as owner:
        owner.execute("create database imitated")
    database = make_conninfo(spied_stack.db_url, dbname="imitated")
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute(SPY)
        owner.execute(f"{imitation} where public.spy()")
    hijacked = make_conninfo(spied_stack.admin_dsn, dbname="imitated")
    async with await psycopg.AsyncConnection.connect(hijacked, autocommit=True) as admin:
        with pytest.raises(LocalPermanentError, match="another version of smelt"):
            await schemas.upgrade(admin)
    with psycopg.connect(database) as owner:
        assert calls(owner) == 0


async def test_superuser_runs_no_trigger_when_old_messages_are_deleted(tmp_path: Path) -> None:
    """Old messages are deleted when a stack starts."""
    project = write_project(tmp_path / "supabase", PROJECT)
    old = "insert into realtime.messages (topic, extension, inserted_at) values ('t', 'broadcast', '2020-01-01')"
    async with LocalStack(tmp_path / "stack", migrations=project, postgrest=POSTGREST) as stack:
        with psycopg.connect(stack.db_url) as owner:
            owner.execute(old)
            before = calls(owner)
    async with LocalStack(tmp_path / "stack", migrations=project, postgrest=POSTGREST) as stack:
        with psycopg.connect(stack.db_url, autocommit=True) as owner:
            remaining = "select 1 from realtime.messages where inserted_at < '2021-01-01'"
            await until(lambda: owner.execute(remaining).fetchone() is None)
            assert calls(owner) > before
            assert calls(owner, "superuser_sessions") == 0

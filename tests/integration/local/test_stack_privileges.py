"""The role `postgres` of an embedded stack has the same privileges as on the platform."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from smelt.local import StackHandle
from tests.harness.stacks import running_local


@pytest.fixture(scope="module")
def bare_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackHandle]:
    with running_local(tmp_path_factory.mktemp("bare")) as stack:
        yield stack


@pytest.fixture
def owner(bare_stack: StackHandle) -> Iterator[psycopg.Connection]:
    """A session of `postgres` whose work is rolled back."""
    with psycopg.connect(bare_stack.db_url) as connection:
        yield connection
        connection.rollback()


def test_postgres_role_is_not_a_superuser(owner: psycopg.Connection) -> None:
    row = owner.execute(
        "select rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls from pg_roles "
        "where rolname = current_user"
    ).fetchone()
    assert row == (False, True, True, True, True)


@pytest.mark.parametrize(
    "statement",
    [
        "create policy p on storage.objects for select to anon using (true)",
        "create policy p on storage.buckets for select to anon using (true)",
        "create policy p on realtime.messages for select to anon using (true)",
        "create policy p on auth.users for select to anon using (true)",
        *(
            f"create trigger t after insert on {table} for each row execute function public.note(); "
            f"drop trigger t on {table}"
            for table in ("storage.objects", "realtime.messages", "auth.users")
        ),
        "set session_replication_role = replica",
        "alter role authenticator set pgrst.db_schemas = 'public, internal'",
        "alter role authenticator set pgrst.db_tx_end = 'rollback-allow-override'",
        "alter role authenticator set pgrst.log_level = 'info'",
        "create table public.owned (id uuid primary key references auth.users on delete cascade)",
        "insert into storage.buckets (id, name) values ('b', 'b')",
        "create schema internal",
        "create table public.followed (id int); alter publication supabase_realtime add table public.followed",
        "alter default privileges in schema public revoke execute on functions from anon",
        "select realtime.send('{}', 'event', 'topic')",
        "set role service_role",
    ],
)
def test_postgres_role_is_allowed_the_statements_of_migrations(owner: psycopg.Connection, statement: str) -> None:
    """These statements of migrations work as on the platform."""
    owner.execute("create function public.note() returns trigger language plpgsql as 'begin return new; end'")
    owner.execute(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "create table storage.mine (id int)",
        "create table realtime.mine (id int)",
        "create table auth.mine (id int)",
        "create function storage.mine() returns int language sql as 'select 1'",
        "alter table storage.objects add column mine int",
        "alter table auth.users add column mine int",
        "alter table storage.objects disable row level security",
        "alter table realtime.messages disable row level security",
        "create index on realtime.messages (topic)",
        "drop table realtime.messages",
        "set role supabase_storage_admin",
        "grant supabase_realtime_admin to postgres",
        "grant supabase_auth_admin to postgres",
        "create role another superuser",
        "alter role supabase_admin password 'mine'",
        "copy (select 1) to program 'true'",
        "select pg_read_file('postgresql.conf')",
    ],
)
def test_postgres_role_is_denied_the_statements_the_platform_denies(owner: psycopg.Connection, statement: str) -> None:
    """These statements are denied as on the platform."""
    with pytest.raises(errors.InsufficientPrivilege):
        owner.execute(statement)


def test_delete_from_storage_objects_by_sql_is_denied(owner: psycopg.Connection) -> None:
    """The contents would remain; the message is the recorded one."""
    with pytest.raises(errors.InsufficientPrivilege) as error:
        owner.execute("delete from storage.objects")
    diagnostics = error.value.diag
    assert (
        diagnostics.message_primary
        == "Direct deletion from storage tables is not allowed. Use the Storage API instead."
    )
    assert diagnostics.message_hint == "This prevents accidental data loss from orphaned objects."


def test_create_policy_grants_no_lasting_role_membership(owner: psycopg.Connection) -> None:
    """After a policy was created, dropped or rejected, `postgres` is not a member of the owning role."""
    memberships = "select roleid::regrole::text from pg_auth_members where member = 'postgres'::regrole order by 1"
    before = owner.execute(memberships).fetchall()
    owner.execute("create policy p on storage.objects for select to anon using (true)")
    with pytest.raises(errors.DuplicateObject), owner.transaction():
        owner.execute("create policy p on storage.objects for select to anon using (true)")
    owner.execute("alter policy p on storage.objects using (false)")
    owner.execute("drop policy p on storage.objects")
    assert owner.execute(memberships).fetchall() == before
    with pytest.raises(errors.InsufficientPrivilege):
        owner.execute("alter table storage.objects add column mine int")


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
def test_default_privileges_open_new_objects_in_public(owner: psycopg.Connection, role: str) -> None:
    """Without a revoke, new objects are as open as on the platform."""
    owner.execute("create table public.open (id int generated always as identity)")
    owner.execute("create function public.open_call() returns int language sql as 'select 1'")
    owner.execute("revoke execute on function public.open_call() from public")
    row = owner.execute(
        "select has_table_privilege(%(role)s, 'public.open', 'insert'), "
        "has_function_privilege(%(role)s, 'public.open_call()', 'execute')",
        {"role": role},
    ).fetchone()
    assert row == (True, True)


def test_realtime_send_failure_is_only_a_warning(owner: psycopg.Connection) -> None:
    """`realtime.send` never fails its transaction; it adds the message's id to an object."""
    notices: list[str] = []
    owner.add_notice_handler(lambda notice: notices.append(notice.severity or ""))
    owner.execute("""select realtime.send('"no object"', 'event', 'topic')""")
    owner.execute("""select realtime.send('{"a": 1}', 'event', 'topic')""")
    assert notices == ["WARNING"]
    rows = owner.execute(
        "select payload - 'id', payload ->> 'id' = id::text, private from realtime.messages"
    ).fetchall()
    assert rows == [({"a": 1}, True, True)]


def test_superuser_login_over_tcp_is_rejected(bare_stack: StackHandle) -> None:
    """The well-known password does not open the superuser."""
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(bare_stack.db_url.replace("//postgres:", "//supabase_admin:"))

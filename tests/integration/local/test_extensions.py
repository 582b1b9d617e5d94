"""Dumps of projects start, with the extensions of the platform that the stack has, has in part, or lacks."""

import uuid
from collections.abc import Iterator
from hashlib import md5, sha512
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from smelt.local import LocalCluster, LocalPermanentError, StackHandle
from smelt.local.database.extensions import EMPTY, PARTIAL, PRIVILEGED
from tests.harness.stacks import running_local
from tests.integration.local.stack_projects import write_project

DUMPS = sorted((Path(__file__).parent / "dumps").glob("*.sql"))


@pytest.fixture(scope="module")
def dumped_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackHandle]:
    """A stack whose migrations are ten dumps, in the format of `supabase db dump` and `pg_dump`."""
    project = write_project(tmp_path_factory.mktemp("dumped") / "supabase")
    for number, path in enumerate(DUMPS):
        (project / "migrations" / f"202501010000{number:02}_{path.name}").write_text(path.read_text())
    with running_local(project) as stack:
        yield stack


@pytest.fixture
def owner(dumped_stack: StackHandle) -> Iterator[psycopg.Connection]:
    """A session of `postgres` whose work is rolled back."""
    with psycopg.connect(dumped_stack.db_url) as connection:
        yield connection
        connection.rollback()


def test_dumps_of_projects_start_and_missing_extensions_are_noted(
    dumped_stack: StackHandle, owner: psycopg.Connection
) -> None:
    tables = owner.execute("select count(*) from pg_tables where schemaname = 'public'").fetchone()
    assert tables == (11,)
    owner.execute("insert into public.todos (task) values ('x')")
    owner.execute("insert into public.documents (embedding) values ('[1,2,3]')")
    matched = owner.execute("select similarity from public.match_documents('[1,2,3]', 1)").fetchone()
    assert matched == (1.0,)
    owner.execute("insert into public.accounts (email) values ('A@B.example')")
    assert owner.execute("select email = 'a@b.example', length(token) from public.accounts").fetchone() == (True, 64)
    (note,) = dumped_stack.state.notes
    assert note.startswith("Extensions without effect in the embedded stack: http, pg_cron, pg_graphql, pg_net, pgjwt,")


@pytest.mark.parametrize("name", [*PRIVILEGED, "pg_trgm", "hstore", "ltree", "tablefunc", "fuzzystrmatch"])
def test_extension_that_is_available_can_be_created(owner: psycopg.Connection, name: str) -> None:
    owner.execute(f"create extension if not exists {name} cascade".encode())
    assert owner.execute("select true from pg_extension where extname = %s", [name]).fetchone()


@pytest.mark.parametrize("name", ["dblink", "file_fdw", "postgres_fdw", "pageinspect", "adminpack", "pg_surgery"])
def test_extension_that_reads_files_or_connects_elsewhere_is_denied(owner: psycopg.Connection, name: str) -> None:
    with pytest.raises((errors.InsufficientPrivilege, errors.FeatureNotSupported)):
        owner.execute(f"create extension {name}".encode())


def test_extension_that_is_missing_is_created_with_a_warning(owner: psycopg.Connection) -> None:
    notices: list[tuple[str | None, str | None]] = []
    owner.add_notice_handler(lambda notice: notices.append((notice.severity, notice.message_primary)))
    for name in EMPTY:
        owner.execute(f'drop extension if exists "{name}"'.encode())
        notices.clear()
        owner.execute(f'create extension if not exists "{name}"'.encode())
        owner.execute(f"""comment on extension "{name}" is 'x'""".encode())
        warning = f"{name} is not part of the embedded stack: its functions and types are missing"
        assert notices == [("WARNING", warning)]


async def test_migration_that_uses_a_missing_extension_fails_with_its_name(
    tmp_path: Path, local_cluster: LocalCluster
) -> None:
    text = "create extension postgis; create table public.places (at geometry)"
    project = write_project(tmp_path / "supabase", text)
    with pytest.raises(LocalPermanentError, match=r'type "geometry" does not exist; .* nothing of postgis$'):
        async with local_cluster.fresh(project):
            pass


def test_partial_extensions_compute_what_they_have(owner: psycopg.Connection) -> None:
    assert owner.execute(
        "select uuid_generate_v3(uuid_ns_dns(), 'www.example.com'), uuid_generate_v3(uuid_ns_url(), 'ü'), uuid_nil(), "
        "digest('ü', 'MD5'), digest('\\x00ff'::bytea, 'sha512')"
    ).fetchone() == (
        uuid.uuid3(uuid.NAMESPACE_DNS, "www.example.com"),
        uuid.uuid3(uuid.NAMESPACE_URL, "ü"),
        uuid.UUID(int=0),
        md5("ü".encode()).digest(),
        sha512(b"\x00\xff").digest(),
    )
    row = owner.execute("select uuid_generate_v4(), uuid_generate_v4(), gen_random_bytes(33), gen_random_bytes(1024)")
    first, second, some, many = row.fetchone() or ()
    assert first.version == second.version == 4
    assert first != second
    assert (len(some), len(many)) == (33, 1024)
    assert some != many[:33]


@pytest.mark.parametrize(
    "call",
    [
        "crypt('a', gen_salt('bf'))",
        "gen_salt('bf', 8)",
        "hmac('a', 'b', 'sha256')",
        "pgp_sym_encrypt('a', 'b')",
        "digest('a', 'sha1')",
        "uuid_generate_v1()",
        "uuid_generate_v5(uuid_nil(), 'a')",
    ],
)
def test_partial_extension_names_the_function_that_it_lacks(owner: psycopg.Connection, call: str) -> None:
    with pytest.raises(errors.FeatureNotSupported, match="is not part of the embedded stack"):
        owner.execute(f"select {call}".encode())


@pytest.mark.parametrize("name", PARTIAL)
def test_partial_extension_is_safe_in_a_schema_of_the_project(owner: psycopg.Connection, name: str) -> None:
    """Functions of the project in the target schema are not called by the extension's script or functions."""
    owner.execute(
        "create schema trap; create function trap.gen_random_uuid() returns uuid language plpgsql "
        "as 'begin raise exception $$called$$; end'"
    )
    owner.execute(f'drop extension "{name}" cascade'.encode())
    if name == "pgcrypto":
        with pytest.raises(psycopg.ProgrammingError), owner.transaction():
            owner.execute("create extension pgcrypto with schema trap")
        owner.execute("drop function trap.gen_random_uuid()")
        owner.execute("create extension pgcrypto with schema trap")
        owner.execute("select trap.gen_random_bytes(8)")
    else:
        owner.execute('create extension "uuid-ossp" with schema trap')
        owner.execute("select trap.uuid_generate_v4()")

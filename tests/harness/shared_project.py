"""Cleanup of a project that the tests share with others: it is left as it was before.

The tests create users at example.com or without an address, and ownerless smelts. Such rows that appear during the
tests are attributed to them and removed; all other rows of a user are removed with the user.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, LiteralString

import httpx
import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb
from supabase import Client, ClientOptions, create_client

from smelt.contract.channels import AUDIO_BUCKET

if TYPE_CHECKING:
    from tests.harness.stacks import Stack

# Each query returns one text column. An object is a stray once its smelt is deleted.
CREATED_BY_TESTS: dict[str, LiteralString] = {
    "smelts": "select id::text from public.smelts where user_id is null",
    "users": "select id::text from auth.users where is_anonymous or email like '%@example.com'",
    "workers": "select worker_id from smelt.workers",
    "objects": """
        select name from storage.objects as o
        where o.bucket_id = 'smelt-audio'
            and not exists (select from public.smelts as s where s.id::text = split_part(o.name, '/', 1))
    """,
    "messages": "select id::text from realtime.messages where topic ~ '^smelt[-:]'",
}
LIMITS: LiteralString = "select to_jsonb(l) from smelt.limits as l"
TABLES: LiteralString = "select schemaname, tablename from pg_tables where schemaname in ('public', 'smelt')"
PLATFORM_TABLES = (("auth", "users"), ("storage", "buckets"), ("storage", "objects"), ("pg_catalog", "pg_policies"))
OPEN_SMELT: LiteralString = (
    "select from public.smelts where submitted_at is not null and status not in ('completed', 'failed')"
)
LIVE_WORKER: LiteralString = "select from smelt.workers where seen_at > now() - interval '1 minute'"


class SharedProject:
    """A project, accessed as its role `postgres`."""

    def __init__(self, database: psycopg.Connection[Any], service: Client) -> None:
        self._database = database
        self._service = service

    def reserve(self) -> None:
        """End the run if the project is in use, since the tests claim every smelt that is due.

        The lock lasts as long as the connection.
        """
        checks: dict[str, LiteralString] = {
            "is in use by another run of these tests": "select where not pg_try_advisory_lock(hashtext('smelt tests'))",
            "has smelts that are not finished": OPEN_SMELT,
            "has a worker": LIVE_WORKER,
        }
        for problem, query in checks.items():
            if self._database.execute(query).fetchone() is not None:
                pytest.exit(f"The project of SUPABASE_URL {problem}: use an idle one.", 3)

    def contents(self) -> dict[str, object]:
        """Return the limits, and the number of rows of each table."""
        tables = [*self._database.execute(TABLES).fetchall(), *PLATFORM_TABLES]
        count = sql.SQL("select count(*) from {}.{}")
        return {"limits": self._limits()} | {
            ".".join(table): self._one(count.format(*map(sql.Identifier, table))) for table in sorted(tables)
        }

    @contextmanager
    def restored(self) -> Iterator[None]:
        """After the block restore the limits, and remove everything that tests created in it."""
        limits, before = self._limits(), {kind: self._created(kind) for kind in CREATED_BY_TESTS}
        try:
            yield
        finally:
            if self._limits() != limits:
                self._restore_limits(limits)
            for kind in CREATED_BY_TESTS:
                self._remove(kind, sorted(self._created(kind) - before[kind]))

    def _limits(self) -> object:
        return self._one(LIMITS)

    def _restore_limits(self, limits: object) -> None:
        with self._database.transaction():
            self._database.execute("delete from smelt.limits")
            self._database.execute(
                "insert into smelt.limits select * from jsonb_populate_record(null::smelt.limits, %s)", [Jsonb(limits)]
            )

    def _created(self, kind: str) -> set[str]:
        return {name for (name,) in self._database.execute(CREATED_BY_TESTS[kind])}

    def _remove(self, kind: str, names: list[str]) -> None:
        match kind:
            case "smelts":
                self._database.execute("delete from public.smelts where id::text = any(%s)", [names])
            case "workers":
                self._database.execute("delete from smelt.workers where worker_id = any(%s)", [names])
            case "messages":
                self._database.execute("delete from realtime.messages where id::text = any(%s)", [names])
            case "users":
                for name in names:
                    self._service.auth.admin.delete_user(name)
            case "objects" if names:
                self._service.storage.from_(AUDIO_BUCKET).remove(names)

    def _one(self, query: LiteralString | sql.Composed) -> object:
        [(value,)] = self._database.execute(query).fetchall()
        return value


@contextmanager
def opened(project: "Stack") -> Iterator[SharedProject]:
    """Open a project for the block, without changing it."""
    with psycopg.connect(project.db_url, autocommit=True) as database, httpx.Client(timeout=60) as transport:
        options = ClientOptions(httpx_client=transport)
        yield SharedProject(database, create_client(project.api_url, project.service_role_key, options))


@contextmanager
def shared(project: "Stack") -> Iterator[SharedProject]:
    """Reserve a project for the tests; fail at the end if its contents have changed."""
    with opened(project) as reserved:
        reserved.reserve()
        before = reserved.contents()
        with reserved.restored():
            yield reserved
        after = reserved.contents()
        changed = {name: (before.get(name), after.get(name)) for name in before | after}
        left = [f"{name}: {old} before, {new} after" for name, (old, new) in changed.items() if old != new]
        assert not left, f"the tests changed the project of SUPABASE_URL: {'; '.join(left)}"

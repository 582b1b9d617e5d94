"""Calls of SQL functions as PostgREST makes them: with a role and its claims, set for one transaction."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from tests.harness.waiting import wait_until

BECOME: Final = """
    select set_config('role', %s, true), set_config('request.jwt.claims', %s, true),
        set_config('request.headers', %s, true)
"""
ARGUMENT_TYPES: Final = """
    select p.proname, a.name, pg_catalog.format_type(a.type, null)
    from pg_catalog.pg_proc as p
    cross join lateral unnest(p.proargnames, p.proargtypes::oid[]) as a (name, type)
    where p.pronamespace = 'public'::regnamespace
"""


@dataclass(frozen=True)
class Role:
    """A role of the platform, with the claims of its token and the headers of the request."""

    name: str
    claims: dict[str, Any]
    headers: dict[str, str]


def service() -> Role:
    """Return the service role, which workers have."""
    return Role("service_role", {"role": "service_role"}, {})


def user(user_id: str, *, is_anonymous: bool = False) -> Role:
    """Return the role of a signed-in user, or of one that signed in anonymously."""
    return Role("authenticated", {"role": "authenticated", "sub": user_id, "is_anonymous": is_anonymous}, {})


def anon(address: str = "192.0.2.1") -> Role:
    """Return the role of a visitor."""
    return Role("anon", {"role": "anon"}, {"cf-connecting-ip": address})


class Database:
    """A database and its open sessions."""

    def __init__(self, connect: Callable[[str], psycopg.Connection[Any]]) -> None:
        self._connect = connect
        self._sessions: list[psycopg.Connection[Any]] = []
        self.owner = self.session("postgres")
        self.owner.autocommit = True
        self._types = {(name, argument): kind for name, argument, kind in self.owner.execute(ARGUMENT_TYPES)}

    def session(self, login: str = "authenticator") -> psycopg.Connection[Any]:
        """Open a session."""
        session = self._connect(login)
        self._sessions.append(session)
        return session

    def close(self) -> None:
        """Close all sessions, also within transactions."""
        for session in self._sessions:
            session.close()

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Read as the owner of the tables."""
        return self.owner.execute(query, values).fetchall()

    def value(self, query: str, *values: object) -> Any:
        """Read one value as the owner of the tables."""
        [(value,)] = self.rows(query, *values)
        return value

    def run(self, statement: str, *values: object) -> None:
        """Change rows that no function changes, such as limits and timestamps; without values, `%` is a character."""
        self.owner.execute(statement, values or None)

    def add_user(self) -> str:
        """Create a user; return its id."""
        return str(self.value("insert into auth.users (email) values (%s) returning id", f"{uuid4()}@example.com"))

    def caller(self, role: Role) -> "Caller":
        """Open a session that calls functions as a role."""
        return Caller(self.session(), role, self._types)

    def await_blocked(self, session: psycopg.Connection[Any]) -> None:
        """Wait until a session waits for the lock of another one."""
        pid = session.info.backend_pid
        wait_until(lambda: self.value("select cardinality(pg_blocking_pids(%s)) > 0", pid))


class Caller:
    """A session of one role; each call is a separate transaction unless one is open."""

    def __init__(self, session: psycopg.Connection[Any], role: Role, types: dict[tuple[str, str], str]) -> None:
        self.session = session
        self.role = role
        self._types = types

    def __call__(self, function: str, **arguments: object) -> Any:
        """Call a function and commit."""
        with self.open_transaction():
            return self.call_in_transaction(function, **arguments)

    @contextmanager
    def open_transaction(self) -> Iterator[None]:
        """Keep a transaction open during the block, then commit."""
        with self.session.transaction():
            claims, headers = json.dumps(self.role.claims), json.dumps(self.role.headers)
            self.session.execute(BECOME, (self.role.name, claims, headers))
            yield

    def call_in_transaction(self, function: str, **arguments: object) -> Any:
        """Call a function in the open transaction."""
        words = [
            sql.SQL("{} => {}::" + self._types[function, name]).format(sql.Identifier(name), sql.Placeholder(name))
            for name in arguments
        ]
        query = sql.SQL("select public.{}({})").format(sql.Identifier(function), sql.SQL(", ").join(words))
        values = {
            name: Jsonb(value) if self._types[function, name] == "jsonb" else value for name, value in arguments.items()
        }
        row = self.session.execute(query, values).fetchone()
        assert row is not None
        return row[0]

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Read or write tables as this role."""
        with self.open_transaction():
            cursor = self.session.execute(query, values)
            return cursor.fetchall() if cursor.description else []


def rejection(error: psycopg.Error) -> tuple[str | None, str | None]:
    """Return the SQLSTATE and the code of a rejected request."""
    return error.sqlstate, error.diag.message_hint


def upload(database: Database, created: dict[str, Any], sizes: Sequence[int] | None = None) -> None:
    """Insert rows into storage.objects, as the Storage API does after an upload."""
    for file, size in zip(created["files"], sizes or [file["size_bytes"] for file in created["files"]], strict=True):
        database.run(
            "insert into storage.objects (bucket_id, name, version, metadata) values ('smelt-audio', %s, %s, %s)",
            file["upload_path"],
            str(uuid4()),
            Jsonb({"size": size}),
        )


def submitted(database: Database, client: Caller, file_count: int = 1, **arguments: object) -> dict[str, Any]:
    """Create a smelt of small files, upload and submit them; return the response of `create_smelt`."""
    files = [{"filename": f"{index}.mp3", "size_bytes": 1000} for index in range(file_count)]
    created: dict[str, Any] = client("create_smelt", files=files, **arguments)
    upload(database, created)
    client("submit_smelt", smelt_id=created["id"])
    return created


def claimed(worker: Caller, worker_id: str = "worker", **arguments: object) -> dict[str, Any]:
    """Claim the only smelt that is due."""
    [claim] = worker("claim_smelts", worker_id=worker_id, **arguments)["smelts"]
    only: dict[str, Any] = claim
    return only


def results_for(claim: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a result for each file of a claim."""
    return [
        {"file_id": file["id"], "filename": file["filename"], "content": f"# {file['filename']}"}
        for file in claim["files"]
    ]


def expire_leases(database: Database) -> None:
    """Expire all leases, as if their workers had been killed."""
    database.run("update smelt.leases set expires_at = now() - interval '1 s'")

"""Calling the SQL functions as PostgREST does: a role and its claims, set for one transaction."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import psycopg
from db_waiting import await_true
from psycopg import sql
from psycopg.types.json import Jsonb

ARGUMENT_TYPES: Final = """
    select p.proname, a.name, pg_catalog.format_type(a.type, null)
    from pg_catalog.pg_proc as p
    cross join lateral unnest(p.proargnames, p.proargtypes::oid[]) as a (name, type)
    where p.pronamespace = 'public'::regnamespace
"""


@dataclass(frozen=True)
class Role:
    """Who calls: a role of the platform, and the claims of the token that it comes with."""

    name: str
    claims: dict[str, Any]
    headers: dict[str, str]


def service() -> Role:
    """The project's own service, as which workers call."""
    return Role("service_role", {"role": "service_role"}, {})


def user(user_id: str, *, is_anonymous: bool = False) -> Role:
    """Somebody who is signed in, or who signed in anonymously."""
    return Role("authenticated", {"role": "authenticated", "sub": user_id, "is_anonymous": is_anonymous}, {})


def anon(address: str = "192.0.2.1") -> Role:
    """A visitor without an account."""
    return Role("anon", {"role": "anon"}, {"cf-connecting-ip": address})


class Database:
    """A database of a test's own, with the sessions that it opened."""

    def __init__(self, connect: Callable[[str], psycopg.Connection[Any]]) -> None:
        self._connect = connect
        self._sessions: list[psycopg.Connection[Any]] = []
        self.owner = self.session("postgres")
        self.owner.autocommit = True
        self._types = {(name, argument): kind for name, argument, kind in self.owner.execute(ARGUMENT_TYPES)}

    def session(self, login: str = "authenticator") -> psycopg.Connection[Any]:
        """Open one more session."""
        session = self._connect(login)
        self._sessions.append(session)
        return session

    def close(self) -> None:
        """End all sessions, whatever they are in the middle of."""
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
        """Change what no function changes: a limit, or how old something is."""
        self.owner.execute(statement, values)

    def add_user(self) -> str:
        """Make somebody with an account and answer the id."""
        return str(self.value("insert into auth.users (email) values (%s) returning id", f"{uuid4()}@example.com"))

    def caller(self, role: Role) -> "Caller":
        """Open a session as which a role calls functions."""
        return Caller(self.session(), role, self._types)

    def await_blocked(self, session: psycopg.Connection[Any]) -> None:
        """Wait until a session waits for another one's lock."""
        pid = session.info.backend_pid
        await_true(lambda: self.value("select cardinality(pg_blocking_pids(%s)) > 0", pid))


class Caller:
    """A session of one role; each call is a transaction of its own, unless it is held open."""

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
        """Keep one transaction open for the time of the block, then commit."""
        with self.session.transaction():
            for name, value in (
                ("role", self.role.name),
                ("request.jwt.claims", json.dumps(self.role.claims)),
                ("request.headers", json.dumps(self.role.headers)),
            ):
                self.session.execute("select set_config(%s, %s, true)", (name, value))
            yield

    def call_in_transaction(self, function: str, **arguments: object) -> Any:
        """Call a function in the transaction that is held open."""
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
    """The SQLSTATE and the code with which a request was refused."""
    return error.sqlstate, error.diag.message_hint


def upload(database: Database, created: dict[str, Any], sizes: Sequence[int] | None = None) -> None:
    """Put rows into storage.objects as the Storage API does once the bytes are there."""
    for file, size in zip(created["files"], sizes or [file["size_bytes"] for file in created["files"]], strict=True):
        database.run(
            "insert into storage.objects (bucket_id, name, version, metadata) values ('smelt-audio', %s, %s, %s)",
            file["upload_path"],
            str(uuid4()),
            Jsonb({"size": size}),
        )


def submitted(database: Database, client: Caller, file_count: int = 1, **arguments: object) -> dict[str, Any]:
    """Create a smelt of so many small files, upload and submit them; answer what `create_smelt` answered."""
    files = [{"filename": f"{index}.mp3", "size_bytes": 1000} for index in range(file_count)]
    created: dict[str, Any] = client("create_smelt", files=files, **arguments)
    upload(database, created)
    client("submit_smelt", smelt_id=created["id"])
    return created


def claimed(worker: Caller, worker_id: str = "worker", **arguments: object) -> dict[str, Any]:
    """Claim the one smelt that is due."""
    [claim] = worker("claim_smelts", worker_id=worker_id, **arguments)["smelts"]
    answer: dict[str, Any] = claim
    return answer


def results_for(claim: dict[str, Any]) -> list[dict[str, Any]]:
    """A result for every file of a claim."""
    return [
        {"file_id": file["id"], "filename": file["filename"], "content": f"# {file['filename']}"}
        for file in claim["files"]
    ]


def expire_leases(database: Database) -> None:
    """Have all leases run out, as if their workers were gone."""
    database.run("update smelt.leases set expires_at = now() - interval '1 s'")

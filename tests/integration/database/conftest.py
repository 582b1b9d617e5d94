"""A server for each major version, the migrations laid down once, and a clone of that database for every test."""

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from db_calls import Caller, Database, anon, service, user
from db_server import Server, apply_schema, running

from smelt.local.postgres import SUPERUSER, binaries

DEBIAN_15 = Path(os.environ.get("SMELT_TEST_POSTGRES_15", "/usr/lib/postgresql/15/bin"))


def _binaries(version: str) -> Path:
    if version == "embedded":
        return binaries()
    if not (DEBIAN_15 / "postgres").exists():
        pytest.skip(
            f"PostgreSQL 15 is not in {DEBIAN_15}: apt-get install postgresql-15, or set SMELT_TEST_POSTGRES_15 "
            "to the folder with its binaries"
        )
    return DEBIAN_15


@pytest.fixture(scope="session", params=["embedded", "15"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server whose database `postgres` has the platform's schemas and smelt's migrations, and nothing else."""
    with running(_binaries(request.param)) as started:
        apply_schema(started)
        yield started


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    """Numbers that no two databases share."""
    return count()


@pytest.fixture
def database(server: Server, numbers: Iterator[int]) -> Iterator[Database]:
    """A database of the test's own."""
    name = f"test_{next(numbers)}"

    def connect(login: str) -> psycopg.Connection[Any]:
        return psycopg.connect(server.dsn(login, name))

    with psycopg.connect(server.dsn(SUPERUSER, "template1"), autocommit=True) as admin:
        admin.execute(f"create database {name} template postgres owner postgres")
        opened = Database(connect)
        try:
            yield opened
        finally:
            opened.close()
            admin.execute(f"drop database {name} with (force)")


@pytest.fixture
def template_database(server: Server) -> Iterator[Database]:
    """The database that the others are clones of, for tests that change nothing."""
    opened = Database(lambda login: psycopg.connect(server.dsn(login)))
    yield opened
    opened.close()


@pytest.fixture
def owner(database: Database) -> str:
    """Somebody with an account."""
    return database.add_user()


@pytest.fixture
def client(database: Database, owner: str) -> Caller:
    """That somebody, calling."""
    return database.caller(user(owner))


@pytest.fixture
def visitor(database: Database) -> Caller:
    """Somebody without an account, calling."""
    return database.caller(anon())


@pytest.fixture
def worker(database: Database) -> Caller:
    """A worker, calling."""
    return database.caller(service())

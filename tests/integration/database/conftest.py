"""A server for each major version with the migrations applied once, and a clone of its database for each test."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import cache
from itertools import count
from pathlib import Path

import psycopg
import pytest

from smelt.local.database.postgres import binaries
from tests.integration.database.db_calls import Caller, Database, anon, service, user
from tests.integration.database.db_server import Server, apply_schema, cloned, running

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


@pytest.fixture(scope="session")
def server_of() -> Iterator[Callable[[str], Server]]:
    """Return the server of a version; the first call starts it, and it runs until the end of the session."""
    with ExitStack() as stack:

        @cache
        def start(version: str) -> Server:
            server = stack.enter_context(running(_binaries(version)))
            apply_schema(server)
            return server

        yield start


@pytest.fixture(scope="session", params=["embedded", "15"])
def server(request: pytest.FixtureRequest, server_of: Callable[[str], Server]) -> Server:
    """A server whose database `postgres` has only the platform's schemas and smelt's migrations."""
    # pytest would start a server again after the tests of the other version, once or twice for each file.
    return server_of(request.param)


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    """Unique numbers for the names of databases."""
    return count()


@pytest.fixture
def database(server: Server, numbers: Iterator[int]) -> Iterator[Database]:
    """A database for one test."""
    with (
        cloned(server, f"test_{next(numbers)}") as name,
        closing(Database(lambda login: psycopg.connect(server.dsn(login, name)))) as opened,
    ):
        yield opened


@pytest.fixture
def template_database(server: Server) -> Iterator[Database]:
    """The database from which the others are cloned, for tests that only read."""
    opened = Database(lambda login: psycopg.connect(server.dsn(login)))
    yield opened
    opened.close()


@pytest.fixture
def owner(database: Database) -> str:
    """The id of a user."""
    return database.add_user()


@pytest.fixture
def client(database: Database, owner: str) -> Caller:
    """A caller that is signed in as `owner`."""
    return database.caller(user(owner))


@pytest.fixture
def visitor(database: Database) -> Caller:
    """A caller without a sign-in."""
    return database.caller(anon())


@pytest.fixture
def worker(database: Database) -> Caller:
    """A caller with the service role."""
    return database.caller(service())

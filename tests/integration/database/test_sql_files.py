"""The claims in supabase/tests, each a file that runs in a transaction and is rolled back."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.integration.database.db_server import REPOSITORY, Server

FOLDER = REPOSITORY / "supabase" / "tests"
CLAIMS = sorted(path for path in FOLDER.glob("*.sql") if path.name != "setup.sql")


@pytest.fixture
def session(server: Server) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A session of the owner of the migrations, which is rolled back."""
    with psycopg.connect(server.dsn("postgres")) as connection:
        connection.execute((FOLDER / "setup.sql").read_bytes())
        yield connection
        connection.rollback()


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda path: path.stem)
def test_sql_file_passes(session: psycopg.Connection[tuple[object, ...]], claim: Path) -> None:
    session.execute(claim.read_bytes())

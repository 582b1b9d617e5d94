"""A Postgres of the stack, and a Realtime server in the test's own loop."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from realtime_server import RealtimeServer, serving

from smelt.local.account import database_account
from smelt.local.migrations import Project
from smelt.local.postgres import Postgres, PostgresOptions
from smelt.local.template import build


@pytest.fixture(scope="session")
def realtime_postgres() -> Iterator[Postgres]:
    """A server with the platform's schemas and nothing else."""
    with tempfile.TemporaryDirectory(prefix="smelt-rt-") as name, asyncio.Runner() as runner:
        folder, account = Path(name), database_account()
        folder.chmod(0o755)
        options = PostgresOptions(
            data=folder / "data",
            sockets=folder / "sockets",
            port=5432,
            log=folder / "log",
            account=account,
            tcp=False,
            durable=False,
        )
        runner.run(build(Postgres(options), Project()))
        postgres = Postgres(options)
        runner.run(postgres.start())
        try:
            yield postgres
        finally:
            runner.run(postgres.stop())


@pytest_asyncio.fixture
async def realtime(realtime_postgres: Postgres) -> AsyncIterator[RealtimeServer]:
    """A server with short delays, over a database with the tables and policies of the recordings."""
    async with serving(realtime_postgres) as server:
        yield server

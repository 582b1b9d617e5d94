"""Fixtures: Postgres with the platform's schemas, and a Realtime server in the test's event loop."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from smelt.local.database.postgres import Postgres
from tests.integration.local.realtime.realtime_server import RealtimeServer, serving, start_postgres


@pytest.fixture(scope="session")
def realtime_postgres() -> Iterator[Postgres]:
    """A Postgres server with only the platform's schemas."""
    with tempfile.TemporaryDirectory(prefix="smelt-rt-") as name, asyncio.Runner() as runner:
        postgres = runner.run(start_postgres(Path(name)))
        try:
            yield postgres
        finally:
            runner.run(postgres.stop())


@pytest_asyncio.fixture
async def realtime(realtime_postgres: Postgres) -> AsyncIterator[RealtimeServer]:
    """A server with short delays, over a database with the tables and policies of the recordings."""
    async with serving(realtime_postgres) as server:
        yield server


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many frames the conformance suite compared."""
    reports = [report for state in ("passed", "failed") for report in terminalreporter.getreports(state)]
    rows = sorted(row for report in reports for key, row in report.user_properties if key == "tally")
    if rows:
        terminalreporter.section("conformance of Realtime")
        terminalreporter.line(f"{'recording':45}{'compared':>10}{'equal':>10}{'deliberately different':>25}")
        totals = [sum(row[column] for row in rows) for column in (1, 2, 3)]
        for name, *counts in (*rows, (f"all {len(rows)}", *totals)):
            terminalreporter.line(f"{name:45}{counts[0]:>10}{counts[1]:>10}{counts[2]:>25}")

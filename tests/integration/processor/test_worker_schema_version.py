"""A worker compares the version of the project's schema with its own before it claims anything."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from smelt.cli.output import Exit
from smelt.contract.schema_version import SCHEMA_VERSION
from smelt.errors import SettingsError, Unavailable
from tests.harness.endless_model import ENDLESS_MODEL
from tests.harness.stacks import Stack, running_local
from tests.harness.waiting import until
from tests.harness.worker_harness import (
    STANDUP,
    WorkerProcess,
    app_client,
    attempts_of,
    run_worker_once,
    running_worker,
)
from tests.integration.processor.http_proxy import running_http_proxy


@pytest.fixture
def stack() -> Iterator[Stack]:
    with running_local() as running:
        yield running


def set_version(stack: Stack, version: int, compatible_from: int) -> None:
    with psycopg.connect(stack.db_url) as connection:
        connection.execute("alter table smelt.schema_version drop constraint if exists schema_version_range")
        connection.execute(
            "update smelt.schema_version set version = %s, compatible_from = %s", (version, compatible_from)
        )


async def test_schema_version_that_does_not_fit_stops_the_worker_before_it_claims(stack: Stack, tmp_path: Path) -> None:
    async with app_client(stack) as app:
        created = await app.create(STANDUP)
        await app.calls.submit_smelt(created.id)
        for version, compatible_from, remedy in (
            (SCHEMA_VERSION + 2, SCHEMA_VERSION + 1, "pip install --upgrade"),
            (SCHEMA_VERSION - 1, 0, "smelt init"),
        ):
            set_version(stack, version, compatible_from)
            with pytest.raises(SettingsError, match=remedy):
                await run_worker_once(stack, tmp_path)
        assert (await app.state(created.id)).attempt == 0

        set_version(stack, SCHEMA_VERSION + 2, SCHEMA_VERSION)
        await run_worker_once(stack, tmp_path)
        assert (await app.state(created.id)).status == "completed"


async def test_schema_version_that_no_longer_fits_stops_a_running_worker(stack: Stack, tmp_path: Path) -> None:
    """Its smelt is released without a failure, for a worker of the new version."""
    async with app_client(stack) as app:
        created = await app.create(STANDUP)
        await app.calls.submit_smelt(created.id)
        with closing(WorkerProcess(stack, tmp_path, before=ENDLESS_MODEL)) as worker:
            async with app.watching(created.id) as watched:
                await until(lambda: watched.segment_count > 0)
            set_version(stack, SCHEMA_VERSION + 2, SCHEMA_VERSION + 1)
            assert await worker.exit_code() == Exit.USAGE
            assert "pip install --upgrade" in worker.log.read_text()
        [known] = await attempts_of(stack, created.id)
        assert (known.attempts[-1].ended_as, known.failure_count) == ("released", 0)


async def test_schema_version_is_read_again_while_the_project_does_not_respond(stack: Stack, tmp_path: Path) -> None:
    async with app_client(stack) as app, running_http_proxy(stack) as proxy:
        created = await app.create(STANDUP)
        await app.calls.submit_smelt(created.id)
        proxy.rejected_prefix = "/rest/v1/rpc/get_smelt_health"
        with pytest.raises(Unavailable):
            await run_worker_once(proxy.project, tmp_path)
        async with running_worker(proxy.project, tmp_path):
            await until(lambda: proxy.rejected_count >= 3)
            assert (await app.state(created.id)).attempt == 0
            proxy.rejected_prefix = None
            assert (await app.ended(created.id)).status == "completed"

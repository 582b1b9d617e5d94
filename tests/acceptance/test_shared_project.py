"""A run of the tests leaves a project that SUPABASE_URL names as it was, also when a test fails."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.acceptance.commands import ROOT, environment
from tests.harness.shared_project import opened
from tests.harness.stacks import Stack, running_local

TESTS = ROOT / "tests"
# They cover users, visitors, uploads, batches, notifications, drained and killed workers, and a skipped test.
REPRESENTATIVE = (
    "integration/backend/test_project.py",
    "integration/subscriber/test_create.py",
    "integration/subscriber/test_batches.py",
    "integration/processor/test_worker_cancel_and_outage.py",
    "integration/processor/test_worker_outbox.py",
    "integration/subscriber/test_token_expiry.py::test_token_expiry_without_renewal_ends_the_watch_as_unauthorized",
)
# The second run begins with the same rows as the first: fewer tests find what else the first has left.
REPEATED = (
    "integration/backend/test_project.py",
    "integration/subscriber/test_batches.py",
    "integration/processor/test_worker_outbox.py::test_outbox_message_of_a_killed_worker_is_sent_once_by_another",
)
FAILING = """
import httpx, psycopg
from pathlib import Path
from tests.harness.stacks import sign_up
from tests.harness.worker_harness import RECORDINGS, app_client

async def test_it_leaves_everything_behind(stack):
    async with app_client(stack) as visitor, app_client(stack, sign_up(stack).access_token) as owner:
        for app in (visitor, visitor, visitor, owner):
            await app.create(RECORDINGS / "greeting.ogg")
        await owner.calls.create_batch("Interviews")
    with psycopg.connect(stack.db_url, autocommit=True) as database:
        database.execute("insert into smelt.workers (worker_id, host, info) values ('killed', 'host', '{}')")
        database.execute("update smelt.limits set anonymous_max_file_bytes = 1000")
    assert False

async def test_limits_are_restored_for_the_next_test(stack):
    async with app_client(stack) as visitor:
        await visitor.create(RECORDINGS / "greeting.ogg")
"""
SPOILING = """
import psycopg

def test_it_makes_a_bucket(stack):
    with psycopg.connect(stack.db_url, autocommit=True) as database:
        database.execute("insert into storage.buckets (id, name) values ('mine', 'mine')")
"""


@pytest.fixture
def project() -> Iterator[Stack]:
    """A project that runs before the tests start and contains a smelt that does not belong to them."""
    with running_local() as stack, psycopg.connect(stack.db_url, autocommit=True) as database:
        database.execute("insert into public.smelts (audio_state) values ('expected')")
        yield stack


def run_tests(project: Stack, *arguments: str | Path, path: str = "") -> tuple[int, str]:
    """Run pytest with the project in its environment; return its exit code and what it printed."""
    keys = {"SUPABASE_DB_URL": project.db_url, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, arguments)]
    done = subprocess.run(
        command,
        cwd=TESTS,
        env=environment({**project.env(), **keys}),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def run_written(project: Stack, folder: Path, source: str) -> tuple[int, str]:
    """Run a generated test file outside the test tree, with the fixtures and helpers of the tree."""
    (folder / "test_written.py").write_text(source)
    path = os.pathsep.join(map(str, (TESTS, TESTS / "integration" / "processor")))
    options = ("-c", ROOT / "pyproject.toml", "--rootdir", folder, "-p", "conftest")
    return run_tests(project, *options, folder / "test_written.py", path=path)


def contents(project: Stack) -> dict[str, object]:
    """Return everything in the project that the tests must not change."""
    with opened(project) as found, psycopg.connect(project.db_url) as database:
        [(message_count,)] = database.execute("select count(*) from realtime.messages").fetchall()
        return {**found.contents(), "realtime.messages": message_count}


@pytest.mark.timeout(900)
def test_shared_project_is_unchanged_after_two_runs_of_integration_tests(project: Stack) -> None:
    before = contents(project)
    assert before["public.smelts"] == 1
    for tests, outcome in ((REPRESENTATIVE, r"\d\d passed, 1 skipped"), (REPEATED, r"\d\d passed")):
        code, printed = run_tests(project, *tests)
        assert code == 0, printed
        assert re.search(outcome, printed), printed
        assert contents(project) == before


def test_shared_project_is_restored_after_a_failed_test(project: Stack, tmp_path: Path) -> None:
    before = contents(project)
    code, printed = run_written(project, tmp_path, FAILING)
    assert (code, "1 failed, 1 passed" in printed) == (1, True), printed
    assert contents(project) == before


def test_shared_project_check_fails_a_run_that_leaves_something_behind(project: Stack, tmp_path: Path) -> None:
    code, printed = run_written(project, tmp_path, SPOILING)
    assert code == 1, printed
    assert "storage.buckets: 1 before, 2 after" in printed


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("insert into smelt.workers (worker_id, host, info) values ('live', 'host', '{}')", "has a worker"),
        (
            "update public.smelts set submitted_at = now(), claimable_at = now(), audio_state = 'stored'",
            "has smelts that are not finished",
        ),
        ("select pg_advisory_lock(hashtext('smelt tests'))", "is in use by another run"),
    ],
)
def test_shared_project_in_use_is_rejected_before_the_first_test(
    change: str, problem: str, project: Stack, tmp_path: Path
) -> None:
    with psycopg.connect(project.db_url, autocommit=True) as database:
        database.execute(change.encode())
        code, printed = run_written(project, tmp_path, SPOILING)
    assert code == 3, printed
    assert problem in printed
    assert contents(project)["storage.buckets"] == 1


def test_shared_project_rejects_several_processes(project: Stack) -> None:
    code, printed = run_tests(project, "-n", "2", REPRESENTATIVE[0])
    assert (code, "use -n 0" in printed) == (4, True), printed

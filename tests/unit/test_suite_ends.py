"""Timeouts end a hanging subprocess, teardown or test run, and all of its processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.processes import assert_ended, processes_with_home, run, started
from tests.harness.waiting import wait_until

ROOT = Path(__file__).parents[2]
HANGING_TEARDOWN = """
import threading, pytest
@pytest.fixture
def stuck():
    yield
    threading.Event().wait()
def test_that_ends(stuck):
    pass
"""
LEAVING_ORPHANS = "setsid sleep 1000 & sleep 1000 & touch started; "
"""A bash script that leaves one child in its session and one in a new session."""

orphans = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="orphans are found through /proc")


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """An environment whose `HOME` identifies the processes of a test."""
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}


def bounded(limit_s: float, script: str) -> list[str]:
    return [sys.executable, str(ROOT / "scripts" / "bounded.py"), str(limit_s), "bash", "-c", script]


def test_timeout_of_a_command_ends_a_grandchild_that_holds_the_pipe(env: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run(["bash", "-c", "sleep 1000 | sleep 1000"], env=env, timeout_s=0.2)
    assert_ended(processes_with_home(tmp_path))


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_timeout_of_a_teardown_ends_the_process_with_its_stacks(tmp_path: Path, workers: tuple[str, ...]) -> None:
    test = tmp_path / "test_hanging.py"
    test.write_text(HANGING_TEARDOWN)
    options = ("-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider", "-o", "faulthandler_timeout=3")
    done = run([sys.executable, "-m", "pytest", *options, *workers, test], cwd=tmp_path)
    assert done.returncode == 1
    assert "Timeout (0:00:03)!" in done.stderr
    assert f'File "{test}", line 6 in stuck' in done.stderr


def test_limits_of_all_tests_are_below_that_of_the_process(request: pytest.FixtureRequest) -> None:
    marks = [mark.args[0] for item in request.session.items for mark in item.iter_markers("timeout")]
    limits = [float(request.config.getini("timeout")), *marks]
    assert min(limits) > 0
    assert max(limits) < float(request.config.getini("faulthandler_timeout"))


def test_sigint_reaches_tests_whose_parent_ignores_it() -> None:
    """A background job of a script ignores SIGINT, and its children inherit that."""
    test = f"{__file__}::{test_sigint_ends_a_child.__name__}"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", test]
    done = run(["bash", "-c", 'trap "" INT; exec "$@"', "-", *command], cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_sigint_ends_a_child() -> None:
    with started(["sleep", "1000"]) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == -signal.SIGINT


@pytest.mark.parametrize("code", [0, 5])
def test_bounded_returns_the_exit_code(env: dict[str, str], code: int) -> None:
    assert run(bounded(60, f"exit {code}"), env=env).returncode == code


@orphans
def test_bounded_reaps_orphans_while_it_waits(env: dict[str, str]) -> None:
    script = "orphan=$( (true & echo $!) ); while [ -e /proc/$orphan ]; do sleep 0.1; done; exit 5"
    assert run(bounded(60, script), env=env, timeout_s=30).returncode == 5


@orphans
def test_bounded_ends_at_its_limit_with_stacks_and_kills_orphans(env: dict[str, str], tmp_path: Path) -> None:
    hanging = f"exec {sys.executable} -X faulthandler -c 'import threading; threading.Event().wait()'"
    done = run(bounded(5, LEAVING_ORPHANS + hanging), env=env, cwd=tmp_path)
    assert done.returncode == 124
    assert "has not ended within 5 s" in done.stderr
    assert 'threading.py", line' in done.stderr
    assert processes_with_home(tmp_path) == []


@orphans
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_bounded_lets_an_interrupted_command_clean_up_and_kills_orphans(
    env: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    script = f"trap 'touch cleaned; exit 2' INT; {LEAVING_ORPHANS} wait"
    with started(bounded(60, script), env=env, cwd=tmp_path) as process:
        wait_until((tmp_path / "started").exists, lambda: "not started", 30)
        if number is signal.SIGINT:  # A terminal sends SIGINT to the whole process group.
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        assert process.wait(60) == 2
    assert (tmp_path / "cleaned").exists()
    assert processes_with_home(tmp_path) == []

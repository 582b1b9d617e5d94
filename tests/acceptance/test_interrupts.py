"""Ctrl-C at different moments of each command: no traceback, exit code 130, no process left running."""

import json
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from smelt.local import StackHandle
from smelt.local.processes.lock import holder
from tests.acceptance.commands import STANDUP, environment, smelt, submit
from tests.harness.processes import assert_ended, processes_with_home, started
from tests.harness.stacks import Stack, running_local, sign_up
from tests.harness.waiting import wait_until

COMMANDS = {
    "demo": ["demo"],
    "watch": ["watch", "SMELT_ID"],
    "submit": ["submit", "--watch", STANDUP],
    "worker": ["worker"],
    "local start": ["local", "start", "--api-port", "0", "--db-port", "0"],
}
MOMENTS: dict[str, list[float | str]] = {
    "demo": [0.0, 0.1, 0.5, 1.0, 3.0, "Postgres, PostgREST", "Transcribing"],
    "watch": [0.0, 0.1, 0.5, 1.0, "Waiting"],
    "submit": [0.0, 0.1, 0.5, 1.0, "Waiting"],
    "worker": [0.0, 0.1, 0.5, 1.0, 3.0, "joined channel smelt-workers"],
    "local start": [0.0, 0.1, 0.5, 1.0, 3.0],
}
"""When Ctrl-C is pressed: once this text is printed, or this many seconds after `smelt.cli` is imported.

The time before that import depends on the machine.
"""
MARK_START = """
import os, sys
def mark(event, args):
    if event == "import" and args[0] == "smelt.cli":
        open(os.environ["MARK"], "w").close()
sys.addaudithook(mark)
"""
PROMPTS = {
    "E-mail": ["login"],
    "Password": ["login", "--email", "a@example.com"],
    "Delete smelt": ["delete", "SMELT_ID"],
}


@pytest.fixture(scope="module")
def project() -> Iterator[StackHandle]:
    """A project without a worker, so that a smelt stays pending."""
    with running_local() as stack:
        yield stack


@pytest.fixture
def env(project: StackHandle, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a command; HOME identifies its processes. Stops a stack that still runs at the end."""
    (tmp_path / "sitecustomize.py").write_text(MARK_START)
    (tmp_path / "home").mkdir()
    env = {
        **project.env(),
        "SMELT_ACCESS_TOKEN": sign_up(project).access_token,
        "HOME": str(tmp_path / "home"),
        "MARK": str(tmp_path / "mark"),
        "PYTHONPATH": str(tmp_path),
    }
    yield env
    if holder(tmp_path / ".smelt" / "lock") is not None:
        smelt("local", "stop", env=env, cwd=tmp_path)


@pytest.mark.parametrize(
    ("command", "moment"),
    [(command, moment) for command, moments in MOMENTS.items() for moment in moments],
)
def test_ctrl_c_exits_with_130_and_leaves_nothing(
    command: str, moment: float | str, env: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if command == "worker":  # A worker would claim the smelts of other tests.
        env |= request.getfixturevalue("fresh_stack").env()
    code, printed, errors = interrupted(COMMANDS[command], moment, env, tmp_path)
    assert "Traceback" not in errors
    assert "Warning" not in errors
    assert "never" not in errors
    if command == "local start" and code == 0:  # The command had ended before Ctrl-C.
        assert "API URL" in printed
        assert smelt("local", "stop", env=env, cwd=tmp_path).returncode == 0
    else:
        assert code == 130, errors
    assert_ended(processes_with_home(env["HOME"]))


def test_sigint_is_ignored_by_a_worker_in_the_background_of_a_script(fresh_stack: Stack, tmp_path: Path) -> None:
    """A shell starts background jobs with SIGINT ignored; SIGTERM drains the worker."""
    log = tmp_path / "log"
    command = ["bash", "-c", 'trap "" INT; exec "$@"', "-", sys.executable, "-m", "smelt", "worker"]
    with (
        log.open("wb") as sink,
        started(command, env=environment(fresh_stack.env()), stdout=sink, stderr=sink) as process,
    ):
        wait_until(
            lambda: "joined channel smelt-workers" in log.read_text(), "a worker that has joined its channel", 60
        )
        process.send_signal(signal.SIGINT)
        code, _ = submit("--text", "Ship it on Monday.", env=fresh_stack.env())
        assert code == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize("key", ["Ctrl-C", "Ctrl-D"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_ctrl_c_and_ctrl_d_at_a_prompt_exit_with_130(
    prompt: str, key: str, options: list[str], env: dict[str, str], tmp_path: Path
) -> None:
    arguments = [*with_smelt_id(PROMPTS[prompt], env), *options]
    err = tmp_path / "err"
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "smelt", *arguments]
    try:
        with (
            err.open("wb") as stderr,
            started(command, env=environment(env), stdin=end, stdout=subprocess.PIPE, stderr=stderr) as process,
        ):
            wait_until(lambda: prompt in err.read_text(), prompt, 60)
            if prompt == "Password":  # Input before this is discarded.
                wait_until(lambda: not termios.tcgetattr(terminal)[3] & termios.ECHO, "a terminal without echo")
            if key == "Ctrl-C":
                process.send_signal(signal.SIGINT)
            else:
                os.write(terminal, b"\x04")
            printed, _ = process.communicate(timeout=60)
    finally:
        os.close(end)
        os.close(terminal)
    assert process.returncode == 130, err.read_text()
    assert printed.strip() == b""
    assert "Traceback" not in err.read_text()


def interrupted(
    arguments: Sequence[str | Path], moment: float | str, env: dict[str, str], folder: Path
) -> tuple[int, str, str]:
    """Run a command, press Ctrl-C at the given moment; return exit code, stdout and stderr."""
    arguments = with_smelt_id(arguments, env)
    out, err = folder / "out", folder / "err"
    command = [sys.executable, "-m", "smelt", *arguments]
    with out.open("wb") as stdout, err.open("wb") as stderr:
        options = {"env": environment(env), "cwd": folder, "stdout": stdout, "stderr": stderr}
        with started(command, **options) as process:
            wait_until(Path(env["MARK"]).exists, "the first import")
            if isinstance(moment, str):
                wait_until(lambda: moment in out.read_text() + err.read_text(), moment, 60)
            else:
                let_run(process, moment)
            if process.poll() is None:
                # A terminal sends SIGINT to the whole foreground group.
                os.killpg(process.pid, signal.SIGINT)
            code = process.wait(60)
    return code, out.read_text(), err.read_text()


def with_smelt_id(arguments: Sequence[str | Path], env: dict[str, str]) -> list[str | Path]:
    """Return the arguments with the id of a new smelt for `SMELT_ID`."""
    if "SMELT_ID" not in arguments:
        return list(arguments)
    created = smelt("submit", "--text", "Ship it on Monday.", "--json", env=env)
    Path(env["MARK"]).unlink()
    smelt_id = json.loads(created.stdout.splitlines()[0])["id"]
    return [smelt_id if argument == "SMELT_ID" else argument for argument in arguments]


def let_run(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    """Wait for some seconds, or until the process exits."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return

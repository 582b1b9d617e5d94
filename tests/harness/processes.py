"""Processes and ports, for tests that start and kill programs."""

import os
import pwd
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.harness.waiting import wait_until

END_TIMEOUT_S = 60.0


def run(
    command: Sequence[str | Path], *, timeout_s: float = 100.0, check: bool = False, **options: Any
) -> "subprocess.CompletedProcess[str]":
    """Run a command and return its output; after `timeout_s` kill all processes that it has started, and fail.

    `subprocess.run` would wait forever for a grandchild that holds the pipe.
    """
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with started(command, **{**pipes, "text": True, **options}) as process:
        stdout, stderr = process.communicate(timeout=timeout_s)
    done = subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
    assert not check or done.returncode == 0, f"{stdout}{stderr}"
    return done


@contextmanager
def started(command: Sequence[str | Path], **options: Any) -> Iterator["subprocess.Popen[Any]"]:
    """Start a command in a new session; at the end of the block kill the session."""
    process = subprocess.Popen([str(word) for word in command], start_new_session=True, **options)
    try:
        yield process
    finally:
        kill_session(process.pid)
        process.wait(END_TIMEOUT_S)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(BrokenPipeError):  # Raised for unwritten input.
                    pipe.close()


def kill_session(pid: int) -> None:
    """Kill the session of a process and, if the process still runs, all of its descendants."""
    descendants = []
    with suppress(psutil.NoSuchProcess):
        descendants = psutil.Process(pid).children(recursive=True)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    for descendant in descendants:
        with suppress(psutil.NoSuchProcess):
            descendant.kill()


def process_tree(pid: int) -> list[psutil.Process]:
    """Return the process and all of its descendants."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def started_by_workers() -> list[psutil.Process]:
    """Return the children of the workers of this process; a stack of other tests is not among them."""
    found = []
    for process in psutil.Process().children():
        with suppress(psutil.Error):
            if process.cmdline()[1:3] == ["-P", "-m"]:
                found.append(process)
    return found


def named(processes: list[psutil.Process], name: str) -> psutil.Process:
    """Return the first of these processes that runs this program."""
    return next(process for process in processes if Path(process.cmdline()[0]).name == name)


def assert_ended(processes: list[psutil.Process], timeout_s: float = 30.0) -> None:
    """Assert that all processes have ended or end in time; a zombie counts as ended."""
    wait_until(lambda: not _alive(processes), lambda: f"still running: {_alive(processes)}", timeout_s)


def assert_end_with_worker(processes: list[psutil.Process]) -> None:
    """Assert that all processes end within a second of the death of their worker, which was just now.

    The second is counted in pauses of this process, not by the clock: a machine that delays the others delays it too.
    """
    for _ in range(50):
        if not _alive(processes):
            return
        time.sleep(0.02)
    raise AssertionError(f"still running: {_alive(processes)}")


def assert_free(port: int, timeout_s: float = 30.0) -> None:
    """Assert that no process listens on the port, or stops listening in time."""
    wait_until(lambda: not is_listening(port), lambda: f"a process still listens on {port}", timeout_s)


def processes_with_home(home: Path | str) -> list[psutil.Process]:
    """Return the processes with this `HOME`, which all processes of a stack inherit."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("HOME") == str(home) and _status(process) != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def is_listening(port: int) -> bool:
    """Return True if a process accepts connections on a port of the loopback interface."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def restartable_port() -> int:
    """Return a free port that the system gives to no connection, which would keep its server from a restart."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def capabilities(process: psutil.Process) -> int:
    """Return the effective capabilities of a process as a bit mask."""
    status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("CapEff:")).split()[1], 16)


def as_unprivileged_user(*command: str) -> list[str] | None:
    """Return the command with which root runs a Python command as `nobody`; None if `nobody` cannot run this Python."""
    python = next((path for path in _interpreters() if _open_to_all(path)), None)
    packages = [Path(entry) for entry in sys.path if entry and Path(entry).is_dir()]
    if python is None or not all(_open_to_all(path) for path in packages if path.name == "site-packages"):
        return None
    path = os.pathsep.join(str(Path(entry)) for entry in (Path(__file__).parents[1], *packages) if _open_to_all(entry))
    account = pwd.getpwnam("nobody")
    become = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    return [*become, "env", "HOME=/nonexistent", f"PYTHONPATH={path}", str(python), *command]


@contextmanager
def open_folder() -> Iterator[Path]:
    """Create a folder that belongs to `nobody`, whose parents are accessible to all users."""
    folder = Path(tempfile.mkdtemp(prefix="smelt-test-"))
    account = pwd.getpwnam("nobody")
    os.chown(folder, account.pw_uid, account.pw_gid)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _interpreters() -> list[Path]:
    name = f"python3.{sys.version_info.minor}"
    return [Path(sys.executable).resolve(), Path("/usr/local/bin") / name, Path("/usr/bin") / name]


def _open_to_all(path: Path) -> bool:
    return path.exists() and all(part.stat().st_mode & stat.S_IXOTH for part in (path, *path.parents))


def _alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in processes if process.is_running() and _status(process) != psutil.STATUS_ZOMBIE]


def _status(process: psutil.Process) -> str:
    try:
        return process.status()
    except psutil.NoSuchProcess:
        return psutil.STATUS_ZOMBIE

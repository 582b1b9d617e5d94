#!/usr/bin/env python3
"""Run a command with a time limit, and end all of its processes: scripts/bounded.py SECONDS COMMAND...

After Ctrl-C, SIGTERM or SIGHUP the command has a minute to clean up. After SECONDS its processes get SIGABRT, at which
pytest writes the stacks of all its threads, and the exit code is 124. Processes that still run afterwards are killed,
also those in other sessions. Uses only Python's standard library.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

LINUX: Final = sys.platform.startswith("linux")
PR_SET_CHILD_SUBREAPER: Final = 36
CLEANUP_TIMEOUT_S: Final = 60.0
ABORT_TIMEOUT_S: Final = 5.0
TIMED_OUT: Final = 124


def main() -> int:
    """Run the command of the command line and return its exit code."""
    limit_s, command = float(sys.argv[1]), sys.argv[2:]
    if LINUX:
        # Orphaned descendants become children of this process, which can then find them.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    deadline = time.monotonic() + limit_s
    interrupted = _remember_signals()
    process = subprocess.Popen(command)

    def done() -> bool:
        _reap(process.pid)
        return process.poll() is not None

    ended = _wait(lambda: done() or bool(interrupted), deadline)
    if interrupted:
        if signal.SIGINT not in interrupted:  # A terminal sends SIGINT to the whole foreground group by itself.
            process.send_signal(signal.SIGINT)
        _wait(done, time.monotonic() + CLEANUP_TIMEOUT_S)
    elif not ended:
        print(f"{command[0]} has not ended within {limit_s:.0f} s:", file=sys.stderr, flush=True)
        _send(signal.SIGABRT, _descendants(os.getpid(), depth=2))
        _wait(done, time.monotonic() + ABORT_TIMEOUT_S)
    _end_descendants(lambda: done() and not _descendants(os.getpid()))
    if process.poll() is None:
        process.kill()  # Needed on systems without /proc.
    if not ended or process.returncode is None:
        return TIMED_OUT
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _remember_signals() -> list[int]:
    received: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _frame: received.append(number))
    return received


def _end_descendants(ended: Callable[[], bool]) -> None:
    """Wait until the remaining descendants end, then terminate and at last kill them."""
    for number in (None, signal.SIGTERM, signal.SIGKILL):
        left = _descendants(os.getpid())
        if number is not None and left:
            print(
                f"sending {number.name} to remaining processes: {' '.join(map(str, left))}", file=sys.stderr, flush=True
            )
            _send(number, left)
        if _wait(ended, time.monotonic() + ABORT_TIMEOUT_S):
            return


def _descendants(pid: int, depth: int = 99) -> list[int]:
    """Return the process ids of children, their children and so on, without those that have ended."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name, in parentheses, may contain blanks.
            state, parent, *_ = stat.read_text().rpartition(")")[2].split()
            if state not in "ZX":
                children.setdefault(int(parent), []).append(int(stat.parent.name))
    found: list[int] = []
    level = [pid]
    for _ in range(depth):
        level = [child for parent in level for child in children.get(parent, [])]
        found += level
    return found


def _reap(but: int) -> None:
    """Reap adopted children that have ended; a test may wait until their process ids are free."""
    with suppress(ChildProcessError):
        while LINUX and (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid != but:
            os.waitpid(ended.si_pid, 0)


def _send(number: signal.Signals, pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _wait(condition: Callable[[], bool], deadline: float) -> bool:
    while not (holds := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return holds


if __name__ == "__main__":
    sys.exit(main())

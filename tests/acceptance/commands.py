"""Helpers that run the command line in subprocesses and parse its JSON lines."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.harness.processes import run, started
from tests.harness.waiting import wait_until

ROOT = Path(__file__).parents[2]
STANDUP = ROOT / "smelt" / "cli" / "recordings" / "standup.ogg"
STANDUP_TEXT = STANDUP.with_suffix(".txt").read_text()
STAGES = ["pending", "validating", "decoding", "transcribing", "synthesizing"]
RANGES = {
    "pending": (0, 0),
    "validating": (0, 10),
    "decoding": (10, 20),
    "transcribing": (20, 70),
    "synthesizing": (70, 100),
}

Event = dict[str, Any]


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return this environment with these variables and no others of smelt or Supabase."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SMELT_", "SUPABASE_"))}
    # The tests must not use the login of the person who runs them.
    return {**inherited, "COLUMNS": "120", "XDG_STATE_HOME": "/nonexistent", **env}


def smelt(*arguments: str | Path, env: Mapping[str, str], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `smelt` with these arguments and wait until it exits."""
    return run([sys.executable, "-m", "smelt", *arguments], env=environment(env), cwd=cwd)


def submit(*arguments: str | Path, env: Mapping[str, str], cwd: Path | None = None) -> tuple[int, list[Event]]:
    """Run `smelt submit --watch --json`; return its exit code and its lines."""
    done = smelt("submit", *arguments, "--watch", "--json", env=env, cwd=cwd)
    assert done.stderr == "", done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def shell(commands: str, *, env: Mapping[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run commands of a document as printed; `smelt` is this one, and its embedded stack takes free ports."""
    program = cwd / "bin" / "smelt"
    program.parent.mkdir(exist_ok=True)
    free_ports = '[ "$*" != "local start" ] || set -- local start --api-port 0 --db-port 0'
    program.write_text(f'#!/bin/sh\n{free_ports}\nexec {sys.executable} -m smelt "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    return run(["bash", "-ec", commands], env=environment({**env, "PATH": path}), cwd=cwd)


@contextmanager
def submitting(*arguments: str | Path, env: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """Run `smelt submit --watch --json` in the background; yield the process and its output."""
    command = [sys.executable, "-m", "smelt", "submit", *arguments, "--watch", "--json"]
    with started(command, env=environment(env), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, process.stdout


@contextmanager
def worker(env: Mapping[str, str], log: Path, *, cwd: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run `smelt worker` in the background; yield when it has joined its channel, and drain it at the end."""
    command = [sys.executable, "-m", "smelt", "worker"]
    with log.open("wb") as sink, started(command, env=environment(env), cwd=cwd, stdout=sink, stderr=sink) as process:
        try:
            wait_until(
                lambda: "joined channel smelt-workers" in log.read_text(), "a worker that has joined its channel"
            )
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0, log.read_text()


def accuracy(transcribed: str, spoken: str) -> float:
    """Return 1 minus the word error rate: the share of spoken words that were transcribed, in order."""
    reference, hypothesis = _words(spoken), _words(transcribed)
    row = list(range(len(hypothesis) + 1))
    for i, word in enumerate(reference, start=1):
        previous, row[0] = row[0], i
        for j, other in enumerate(hypothesis, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (word != other))
    return 1 - row[-1] / len(reference)


def _words(text: str) -> list[str]:
    return "".join(c for c in text.lower() if c.isalnum() or c.isspace()).split()

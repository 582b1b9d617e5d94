"""Starts a supervisor, exchanges requests with it and stops it; `supervisor` defines the protocol."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from smelt.local.errors import LocalPermanentError, LocalTransientError
from smelt.local.files import open_binary
from smelt.local.paths import StackPaths, cache_folder
from smelt.local.processes import lock
from smelt.local.processes.logs import LogTail
from smelt.local.processes.waiting import until
from smelt.local.state import StackState

START_TIMEOUT_S: Final = 240.0
"""Long enough to download PostgREST over a slow connection."""

STOP_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class LaunchOptions:
    """The options of a supervisor; without a project it runs a cluster."""

    folder: Path
    project: Path | None
    api_port: int = 0
    db_port: int = 0
    postgrest: Path | None = None
    ephemeral: bool = False
    until_input_closes: bool = False

    def command(self) -> list[str]:
        """Return the command line of the supervisor."""
        command = [sys.executable, "-m", "smelt.local.supervisor", "--folder", str(self.folder)]
        command += ["--cache", str(cache_folder())]
        command += ["--project", str(self.project)] if self.project else []
        command += ["--api-port", str(self.api_port), "--db-port", str(self.db_port)]
        command += ["--postgrest", str(self.postgrest)] if self.postgrest else []
        command += ["--ephemeral"] if self.ephemeral else []
        command += ["--until-input-closes"] if self.until_input_closes else []
        return command


async def launch(options: LaunchOptions) -> tuple[subprocess.Popen[bytes], StackState]:
    """Start the supervisor of a stack and wait until the stack is ready; raise the `LocalError` that it reports."""
    process, ready = await start(options)
    return process, StackState.of(ready)


async def start(options: LaunchOptions) -> tuple[subprocess.Popen[bytes], Any]:
    """Start a supervisor and return its first reply; raise the `LocalError` that it reports."""
    paths = StackPaths(options.folder.resolve()).make()
    tail = LogTail(paths.log("supervisor"))
    process = _spawn(options, paths.log("supervisor"))
    try:
        # If this times out, `end` stops the process, and with it the thread that reads from it.
        return process, await asyncio.wait_for(asyncio.to_thread(read_reply, process, tail), START_TIMEOUT_S)
    except BaseException as exc:
        await end(process)
        if options.ephemeral:
            await asyncio.to_thread(shutil.rmtree, options.folder, ignore_errors=True)
        if isinstance(exc, TimeoutError):
            raise LocalTransientError(f"the stack was not ready within {START_TIMEOUT_S:.0f} s") from exc
        raise


def read_reply(process: subprocess.Popen[bytes], tail: LogTail) -> Any:
    """Wait for the next reply of a supervisor and return its value; raise the `LocalError` that it reports."""
    line = _pipe(process.stdout).readline()
    if not line:
        raise LocalTransientError(f"the stack did not start: {tail.last_line()}")
    reply = json.loads(line)
    if "ready" in reply:
        return reply["ready"]
    raise (LocalTransientError if reply["transient"] else LocalPermanentError)(reply["error"])


def send_request(process: subprocess.Popen[bytes], request: dict[str, str]) -> None:
    """Send a request to the supervisor of a cluster; raise `LocalTransientError` if it has exited."""
    pipe = _pipe(process.stdin)
    try:
        pipe.write(json.dumps(request).encode() + b"\n")
        pipe.flush()
    except BrokenPipeError as exc:
        raise LocalTransientError("the supervisor of the cluster has exited; start the cluster again") from exc


async def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a supervisor and wait until it has cleaned up."""
    process.terminate()
    try:
        await asyncio.to_thread(process.wait, STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        # The kernel then signals its children.
        process.kill()
        await asyncio.to_thread(process.wait)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


async def stop(paths: StackPaths) -> bool:
    """Stop the stack that runs in a folder; return False if none was running."""
    pid = lock.holder(paths.lock)
    if pid is None:
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        if await until(lambda: lock.holder(paths.lock) is None, STOP_TIMEOUT_S):
            return True
    raise LocalTransientError(f"process {pid} of the stack did not exit within {STOP_TIMEOUT_S:.0f} s of SIGKILL")


def _spawn(options: LaunchOptions, log: Path) -> subprocess.Popen[bytes]:
    """Start the supervisor; not with asyncio, which kills its children when the loop closes: a stack may outlive it."""
    with open_binary(log, "ab") as output:
        return subprocess.Popen(
            options.command(),
            stdin=subprocess.PIPE if options.until_input_closes else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            # Ctrl-C at the terminal must reach only this process, which stops the supervisor itself.
            start_new_session=True,
        )


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("the supervisor was started without a pipe")
    return pipe

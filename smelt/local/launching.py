"""Starting a supervisor, hearing what it says, and ending it; see there for what it is told."""

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

from smelt.local import lock
from smelt.local.errors import LocalPermanentError, LocalTransientError
from smelt.local.files import open_binary
from smelt.local.logs import LogTail
from smelt.local.paths import StackPaths, cache_folder
from smelt.local.state import StackState
from smelt.local.waiting import until

START_TIMEOUT_S: Final = 240.0
"""Long enough to fetch PostgREST over a slow line."""

STOP_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class LaunchOptions:
    """What the supervisor is told; without a project it serves a cluster's stacks."""

    folder: Path
    project: Path | None
    api_port: int = 0
    db_port: int = 0
    postgrest: Path | None = None
    ephemeral: bool = False
    until_input_closes: bool = False

    def command(self) -> list[str]:
        """Answer the command line of the supervisor."""
        words = [sys.executable, "-m", "smelt.local.supervisor", "--folder", str(self.folder)]
        words += ["--cache", str(cache_folder())]
        words += ["--project", str(self.project)] if self.project else []
        words += ["--api-port", str(self.api_port), "--db-port", str(self.db_port)]
        words += ["--postgrest", str(self.postgrest)] if self.postgrest else []
        words += ["--ephemeral"] if self.ephemeral else []
        words += ["--until-input-closes"] if self.until_input_closes else []
        return words


async def launch(options: LaunchOptions) -> tuple[subprocess.Popen[bytes], StackState]:
    """Start a stack's supervisor and wait until the stack is ready; raise its `LocalError` when it says one."""
    process, ready = await start(options)
    return process, StackState(**ready)


async def start(options: LaunchOptions) -> tuple[subprocess.Popen[bytes], Any]:
    """Start a supervisor and answer what it says when it is ready; raise its `LocalError` when it says one."""
    places = StackPaths(options.folder.resolve()).make()
    tail = LogTail(places.log("supervisor"))
    process = _spawn(options, places.log("supervisor"))
    try:
        # The thread ends with the process at the latest, and that ends with a start that is given up.
        return process, await asyncio.wait_for(asyncio.to_thread(hear, process, tail), START_TIMEOUT_S)
    except BaseException as exc:
        await end(process)
        if options.ephemeral:
            await asyncio.to_thread(shutil.rmtree, options.folder, ignore_errors=True)
        if isinstance(exc, TimeoutError):
            raise LocalTransientError(f"the stack was not ready within {START_TIMEOUT_S:.0f} s") from exc
        raise


def hear(process: subprocess.Popen[bytes], tail: LogTail) -> Any:
    """Wait for the supervisor's next line; answer what is ready, or raise the `LocalError` that it tells of."""
    line = _pipe(process.stdout).readline()
    if not line:
        raise LocalTransientError(f"the stack did not start: {tail.last_line()}")
    answer = json.loads(line)
    if "ready" in answer:
        return answer["ready"]
    raise (LocalTransientError if answer["passing"] else LocalPermanentError)(answer["error"])


def tell(process: subprocess.Popen[bytes], request: dict[str, str]) -> None:
    """Send the supervisor of a cluster a line; raise `LocalTransientError` when it has ended."""
    pipe = _pipe(process.stdin)
    try:
        pipe.write(json.dumps(request).encode() + b"\n")
        pipe.flush()
    except BrokenPipeError as exc:
        raise LocalTransientError("the cluster has ended") from exc


async def end(process: subprocess.Popen[bytes]) -> None:
    """End a supervisor and wait until it has left nothing behind."""
    process.terminate()
    try:
        await asyncio.to_thread(process.wait, STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        # The kernel ends its children.
        process.kill()
        await asyncio.to_thread(process.wait)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


async def stop(places: StackPaths) -> bool:
    """Stop the stack that runs in a folder, however it was started; answer whether one was running."""
    pid = lock.holder(places.lock)
    if pid is None:
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        if await until(lambda: lock.holder(places.lock) is None, STOP_TIMEOUT_S):
            return True
    raise LocalTransientError(f"process {pid} does not end")


def postgrest_from_env() -> Path | None:
    """Answer what `SMELT_POSTGREST` names."""
    named = os.environ.get("SMELT_POSTGREST")
    return Path(named) if named else None


def _spawn(options: LaunchOptions, log: Path) -> subprocess.Popen[bytes]:
    """Start the supervisor; not with asyncio, which would kill it when this loop closes: a stack may outlive us."""
    with open_binary(log, "ab") as output:
        return subprocess.Popen(
            options.command(),
            stdin=subprocess.PIPE if options.until_input_closes else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            # Ctrl-C at the terminal is for whoever started us; the supervisor hears of it from them.
            start_new_session=True,
        )


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("the supervisor was started without a pipe")
    return pipe

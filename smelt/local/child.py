"""A process that the supervisor starts, watches and ends."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smelt.local.account import OsAccount
from smelt.local.files import open_binary

LAUNCHER: Final = Path(__file__).with_name("launch.py")
PASSED_ON: Final = ("PATH", "HOME", "TMPDIR", "TMP", "LANG", "TZ")


@dataclass(frozen=True)
class Step:
    """One step of ending a process: a signal, and how long to wait for its effect."""

    signal: signal.Signals
    patience_s: float


class Child:
    """A started process in a session of its own, so that Ctrl-C at the terminal reaches the supervisor alone."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def spawn(
        cls,
        program: Sequence[str | Path],
        *,
        log: Path,
        death_signal: signal.Signals,
        environment: Mapping[str, str] | None = None,
        account: OsAccount | None = None,
        pass_closed_folders: bool = False,
        closed_program: bool = False,
    ) -> "Child":
        """Start a program with its output appended to `log`; the kernel sends it `death_signal` should we die.

        Where a folder on the way is closed to the account, `pass_closed_folders` lets the program pass it all the time,
        and `closed_program` has no more than the program's own file opened before the change of user.

        It sees nothing of our environment but the path, home, locale and temporary folder: variables of libpq or of
        PostgREST in somebody's shell must not reach in here.
        """
        other = account if account is not None and account.name is not None else None
        plan = {
            "parent": os.getpid(),
            "signal": int(death_signal),
            "uid": other.uid if other else None,
            "gid": other.gid if other else None,
            "pass_closed": pass_closed_folders,
            "closed_program": closed_program,
        }
        with open_binary(log, "ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(plan)),
                *(str(part) for part in program),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**{name: os.environ[name] for name in PASSED_ON if name in os.environ}, **(environment or {})},
                # Wherever we were started from may be closed to the other user.
                cwd="/",
                start_new_session=True,
            )
        return cls(process)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not been seen to end yet."""
        return self._process.returncode is None

    async def wait(self) -> int:
        """Wait for the end and answer the exit status; negative for a signal."""
        return await self._process.wait()

    async def stop(self, *steps: Step) -> int:
        """End the process step by step, with SIGKILL as the last one, and answer its exit status."""
        for step in steps:
            with suppress(ProcessLookupError):
                self._process.send_signal(step.signal)
            with suppress(TimeoutError):
                return await asyncio.wait_for(self._process.wait(), step.patience_s)
        with suppress(ProcessLookupError):
            self._process.kill()
        return await self._process.wait()

"""Starts and stops the child processes of the supervisor."""

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

LAUNCHER: Final = Path(__file__).with_name("exec_shim.py")
INHERITED_VARIABLES: Final = ("PATH", "HOME", "TMPDIR", "TMP", "LANG", "TZ")


@dataclass(frozen=True)
class Step:
    """One step of stopping a process: a signal, and how long to wait for the exit."""

    signal: signal.Signals
    timeout_s: float


class Child:
    """A process in a session of its own, so that Ctrl-C at the terminal reaches only the supervisor."""

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
        keep_read_capability: bool = False,
        open_before_setuid: bool = False,
    ) -> "Child":
        """Start a program and append its output to `log`; the kernel sends it `death_signal` if the supervisor dies.

        Where the account cannot traverse a parent folder, `keep_read_capability` lets the program do so for its whole
        life, and `open_before_setuid` opens only the program's own file before the change of user.

        The program inherits only the variables in `INHERITED_VARIABLES`, so that settings of libpq or PostgREST in the
        user's shell have no effect.
        """
        other = account if account is not None and account.name is not None else None
        plan = {
            "parent": os.getpid(),
            "signal": int(death_signal),
            "uid": other.uid if other else None,
            "gid": other.gid if other else None,
            "keep_read_capability": keep_read_capability,
            "open_before_setuid": open_before_setuid,
        }
        with open_binary(log, "ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(plan)),
                *(str(part) for part in program),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={
                    **{name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ},
                    **(environment or {}),
                },
                # The other user may have no access to the current folder.
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
        """True until the exit of the process has been noticed."""
        return self._process.returncode is None

    async def wait(self) -> int:
        """Wait for the process to exit and return its exit status, negative for a signal."""
        return await self._process.wait()

    async def stop(self, *steps: Step) -> int:
        """Stop the process step by step, finally with SIGKILL, and return its exit status."""
        for step in steps:
            with suppress(ProcessLookupError):
                self._process.send_signal(step.signal)
            with suppress(TimeoutError):
                return await asyncio.wait_for(self._process.wait(), step.timeout_s)
        with suppress(ProcessLookupError):
            self._process.kill()
        return await self._process.wait()

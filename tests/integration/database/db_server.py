"""An ephemeral Postgres server for the tests of the migrations: the embedded one, or one of the system."""

import asyncio
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg
from psycopg.conninfo import make_conninfo

from smelt.local.account import OsAccount, database_account
from smelt.local.database.postgres import EPHEMERAL_SETTINGS, SETTINGS, SUPERUSER
from smelt.local.database.schemas import PLATFORM
from smelt.local.processes.child import Child, Step
from tests.harness.waiting import wait_until

REPOSITORY: Final = Path(__file__).resolve().parents[3]
MIGRATIONS: Final = REPOSITORY / "supabase" / "migrations"
MEMORY: Final = Path("/dev/shm")
MIN_FREE_BYTES: Final = 1024**3
IMMEDIATE_SHUTDOWN: Final = Step(signal.SIGQUIT, 5.0)


@dataclass(frozen=True)
class Server:
    """A running server with a Unix socket; its database `postgres` is the template of the tests."""

    sockets: Path

    def dsn(self, user: str, database: str = "postgres") -> str:
        """Return the connection string of a role."""
        return make_conninfo(host=str(self.sockets), user=user, dbname=database, sslmode="disable")


@contextmanager
def running(binaries: Path) -> Iterator[Server]:
    """Run a new, empty server during the block; it ends with this process, even if that is killed."""
    folder = Path(tempfile.mkdtemp(prefix="smelt-db-", dir=_memory_folder()))
    server = Server(folder)
    try:
        account = database_account()
        account.make_private_folder(folder)
        # A separate event loop, since those of the tests end before the server does.
        with asyncio.Runner() as runner:
            child = runner.run(_start(binaries, folder, account))
            try:
                wait_until(lambda: not child.running or _accepts_connections(server))
                yield server
            finally:
                runner.run(child.stop(IMMEDIATE_SHUTDOWN))
    finally:
        shutil.rmtree(folder)


def apply_schema(server: Server) -> None:
    """Create the platform's schemas in the database `postgres`, and apply the migrations as the role `postgres`."""
    with psycopg.connect(server.dsn(SUPERUSER), autocommit=True) as admin:
        for path in sorted(PLATFORM.glob("*.sql")):
            admin.execute(path.read_bytes())
    with psycopg.connect(server.dsn("postgres")) as owner:
        for path in sorted(MIGRATIONS.glob("*.sql")):
            owner.execute(path.read_bytes())
            owner.commit()


@contextmanager
def cloned(server: Server, name: str) -> Iterator[str]:
    """Create a copy of the database `postgres` for the block; yield its name."""
    with psycopg.connect(server.dsn(SUPERUSER, "template1"), autocommit=True) as admin:
        admin.execute(f"create database {name} template postgres owner postgres")
        try:
            yield name
        finally:
            admin.execute(f"drop database {name} with (force)")


async def _start(binaries: Path, folder: Path, account: OsAccount) -> Child:
    log = folder / "log"
    is_inaccessible = not account.can_access((binaries / "postgres",))
    new = (binaries / "initdb", "-U", SUPERUSER, "-D", folder / "data", "--auth=trust", "--no-sync")
    child = await Child.spawn(
        (*new, "--encoding=UTF8", "--locale=C"),
        log=log,
        death_signal=signal.SIGKILL,
        account=account,
        keep_read_capability=is_inaccessible,
    )
    assert await child.wait() == 0, log.read_text(encoding="utf-8")
    settings = {**SETTINGS, **EPHEMERAL_SETTINGS, "listen_addresses": "", "unix_socket_directories": str(folder)}
    words = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return await Child.spawn(
        (binaries / "postgres", "-D", folder / "data", *words),
        log=log,
        death_signal=signal.SIGQUIT,
        account=account,
        keep_read_capability=is_inaccessible,
    )


def _memory_folder() -> Path | None:
    # Cloning a database copies its files, which takes a quarter of the time in memory.
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MIN_FREE_BYTES else None


def _accepts_connections(server: Server) -> bool:
    try:
        psycopg.connect(server.dsn(SUPERUSER)).close()
    except psycopg.OperationalError:
        return False
    return True

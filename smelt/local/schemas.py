"""Installs the platform's own SQL in a database, and upgrades it when a newer version of smelt adds files."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import psycopg

from smelt.local.errors import LocalPermanentError

PLATFORM: Final = Path(__file__).with_name("platform")

_RECORD: Final = "insert into extensions.platform_files (name, sha256) values (%s, %s)"

Connection = psycopg.AsyncConnection[Any]


async def install(connection: Connection) -> None:
    """Run all files in an empty database as the superuser."""
    await _run(connection, _files(PLATFORM))


async def upgrade(connection: Connection, folder: Path = PLATFORM) -> None:
    """Run the files that this database has not run, each in a transaction.

    Raises `LocalPermanentError` if the database has run a file that is missing or different here. Released files are
    not edited, so the database is from before the first release or from a later version.
    """
    files, known = _files(folder), await _applied(connection)
    if not known.items() <= files.items():
        raise LocalPermanentError(
            "the data folder was created by another version of smelt and cannot be upgraded; use that version, or "
            "`smelt local reset`, which deletes the data and creates it again"
        )
    await _run(connection, {name: digest for name, digest in files.items() if name not in known}, folder)


def _files(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.sql"))}


async def _applied(connection: Connection) -> dict[str, str]:
    exists = await (await connection.execute("select to_regclass('extensions.platform_files') is not null")).fetchone()
    if exists != (True,):
        # Created before versions were recorded.
        return {"": ""}
    rows = await connection.execute("select name, sha256 from extensions.platform_files")
    return dict(await rows.fetchall())


async def _run(connection: Connection, files: Mapping[str, str], folder: Path = PLATFORM) -> None:
    for name, digest in files.items():
        async with connection.transaction():
            await connection.execute((folder / name).read_bytes())
            await connection.execute(_RECORD, (name, digest))

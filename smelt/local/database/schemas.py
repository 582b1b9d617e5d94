"""Installs the platform's own SQL in a database, and upgrades it when a newer version of smelt adds files."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import psycopg

from smelt.local.database import extensions
from smelt.local.errors import LocalPermanentError

PLATFORM: Final = Path(__file__).with_name("platform")

_RECORD: Final = "insert into smelt_platform.files (name, sha256) values (%s, %s)"
# The owner of the database can create another one with the same name. Nothing in it may run in a superuser's session,
# such as a view in place of the table.
_IS_PLATFORM: Final = """
select exists (
    select from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    join pg_catalog.pg_roles r on r.oid = c.relowner and r.oid = n.nspowner and r.rolsuper
    where n.nspname = 'smelt_platform' and c.relname = 'files' and c.relkind = 'r'
)
"""

Connection = psycopg.AsyncConnection[Any]


async def install(connection: Connection) -> None:
    """Run all files in an empty database as the superuser."""
    await _clear_search_path(connection)
    await _run(connection, _files(PLATFORM))
    await extensions.install(connection)


async def upgrade(connection: Connection, folder: Path = PLATFORM) -> None:
    """Run the files that this database has not run, each in a transaction.

    Raises `LocalPermanentError` if the database has run a file that is missing or different here. Released files are
    not edited, so the database is from before the first release or from a later version.
    """
    await _clear_search_path(connection)
    files, known = _files(folder), await _applied(connection)
    if not known.items() <= files.items():
        raise LocalPermanentError(
            "the data folder was created by another version of smelt and cannot be upgraded; use that version, or "
            "`smelt local reset`, which deletes the data and creates it again"
        )
    await _run(connection, {name: digest for name, digest in files.items() if name not in known}, folder)


async def _clear_search_path(connection: Connection) -> None:
    # The project can add functions and operators to the schemas of the default path, which may match a call better
    # than those of Postgres.
    await connection.execute("select pg_catalog.set_config('search_path', '', false)")


def _files(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.sql"))}


async def _applied(connection: Connection) -> dict[str, str]:
    is_platform = await (await connection.execute(_IS_PLATFORM)).fetchone()
    if is_platform != (True,):
        # Created before versions were recorded, or by the owner of the database.
        return {"": ""}
    rows = await connection.execute("select name, sha256 from smelt_platform.files")
    return dict(await rows.fetchall())


async def _run(connection: Connection, files: Mapping[str, str], folder: Path = PLATFORM) -> None:
    for name, digest in files.items():
        async with connection.transaction():
            await connection.execute((folder / name).read_bytes())
            await connection.execute(_RECORD, (name, digest))

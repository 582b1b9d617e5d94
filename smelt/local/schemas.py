"""The platform's own SQL: laid down once, brought up to date when a newer version of smelt has more of it."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import psycopg

from smelt.local.errors import LocalPermanentError

PLATFORM: Final = Path(__file__).with_name("platform")

_RECORD: Final = "insert into extensions.platform_files (name, sha256) values (%s, %s)"

Connection = psycopg.AsyncConnection[Any]


async def lay_down(connection: Connection) -> None:
    """Run all files in an empty database, as the superuser."""
    await _run(connection, _files(PLATFORM))


async def bring_up_to_date(connection: Connection, folder: Path = PLATFORM) -> None:
    """Run the files that this database has not run, each in a transaction.

    Raises `LocalPermanentError` if it ran one that reads otherwise here: a file that was released is not edited, so that is
    the work of a version from before the first release, or of a later one than this.
    """
    files, known = _files(folder), await _known(connection)
    if not known.items() <= files.items():
        raise LocalPermanentError(
            "the data folder was made by another version of smelt, whose platform this one can't change into its own; "
            "use that version, or `smelt local reset`, which throws the data away and makes it anew"
        )
    await _run(connection, {name: digest for name, digest in files.items() if name not in known}, folder)


def _files(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.sql"))}


async def _known(connection: Connection) -> dict[str, str]:
    there = await (await connection.execute("select to_regclass('extensions.platform_files') is not null")).fetchone()
    if there != (True,):
        # Made before versions were told apart.
        return {"": ""}
    rows = await connection.execute("select name, sha256 from extensions.platform_files")
    return dict(await rows.fetchall())


async def _run(connection: Connection, files: Mapping[str, str], folder: Path = PLATFORM) -> None:
    for name, digest in files.items():
        async with connection.transaction():
            await connection.execute((folder / name).read_bytes())
            await connection.execute(_RECORD, (name, digest))

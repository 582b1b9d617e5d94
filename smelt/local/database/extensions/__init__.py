"""The extensions of the embedded stack, beyond those that the owner of a project may create in plain Postgres.

A server finds their control files in a folder of its stack, through the setting `extension_control_path`. Three kinds:
extensions of the wheel that plain Postgres reserves for superusers, parts of extensions that are not in the wheel, and
empty ones in place of others of the platform. Dumps of projects create those, mostly without using them.
"""

from pathlib import Path
from typing import Any, Final

import psycopg

PARTS: Final = Path(__file__).parent

PRIVILEGED: Final = ("earthdistance", "moddatetime", "pg_stat_statements", "vector")
"""Extensions of the wheel that the platform also lets the owner of a project create."""

PARTIAL: Final = ("pgcrypto", "uuid-ossp")
"""Extensions of which the stack has a part, in a SQL file of this folder."""

PREINSTALLED: Final = ("pg_stat_statements", *PARTIAL)
"""Extensions in the schema `extensions` of a new project, as on the platform."""

EMPTY: Final = (
    "address_standardizer", "address_standardizer_data_us", "http", "hypopg", "index_advisor", "pg_cron",
    "pg_graphql", "pg_hashids", "pg_jsonschema", "pg_net", "pg_partman", "pg_repack", "pg_tle", "pgaudit", "pgjwt",
    "pgmq", "pgroonga", "pgroonga_database", "pgrouting", "pgsodium", "pgtap", "plpgsql_check", "plv8", "postgis",
    "postgis_raster", "postgis_sfcgal", "postgis_tiger_geocoder", "postgis_topology", "rum", "sslinfo",
    "supabase-dbdev", "supabase_vault", "timescaledb", "wrappers", "xml2",
)  # fmt: skip
"""Extensions of the platform that the stack does not have; creating one creates nothing but its name."""

FIXED_SCHEMAS: Final = {
    "pg_tle": "pgtle",
    "pgmq": "pgmq",
    "pgsodium": "pgsodium",
    "postgis_tiger_geocoder": "tiger",
    "postgis_topology": "topology",
}
"""The schemas of empty extensions that dumps create without naming a schema."""

MISSING_SQLSTATE: Final = "0A000"
"""The SQLSTATE of the warning when an empty extension is created; its detail is the name."""

EMPTY_VERSION: Final = "none"
PARTIAL_VERSION: Final = "1.0"


def write(folder: Path, installation: Path) -> None:
    """Write the control files to `folder`, for the `share` folder of a Postgres installation; replace existing ones."""
    target = folder / "extension"
    target.mkdir(parents=True, exist_ok=True)
    for path in (folder, target):
        path.chmod(0o755)
    for name in PRIVILEGED:
        control = (installation / "extension" / f"{name}.control").read_text(encoding="utf-8")
        _write(target / f"{name}.control", f"{control}\n{_setting('directory', str(installation / 'extension'))}")
    for name in PARTIAL:
        _write(target / f"{name}.control", _setting("default_version", PARTIAL_VERSION))
        _write(target / f"{name}--{PARTIAL_VERSION}.sql", (PARTS / f"{name}.sql").read_text(encoding="utf-8"), "")
    for name in EMPTY:
        schema = FIXED_SCHEMAS.get(name)
        placed = "relocatable = true\n" if schema is None else _setting("schema", schema)
        _write(target / f"{name}.control", _setting("default_version", EMPTY_VERSION) + placed)
        warning = f"{name} is not part of the embedded stack: its functions and types are missing"
        script = (
            f"do $$ begin raise warning '{warning}' using errcode = '{MISSING_SQLSTATE}', detail = '{name}'; end $$;\n"
        )
        _write(target / f"{name}--{EMPTY_VERSION}.sql", script, "")


async def install(connection: psycopg.AsyncConnection[Any]) -> None:
    """Create the preinstalled extensions as their owner, in a session of a superuser."""
    async with connection.transaction():
        await connection.execute("set local role postgres")
        for name in PREINSTALLED:
            await connection.execute(f'create extension "{name}" with schema extensions'.encode())


async def missing(connection: psycopg.AsyncConnection[Any]) -> tuple[str, ...]:
    """Return the extensions that a project has created and of which the stack has nothing."""
    cursor = await connection.execute(
        "select extname from pg_catalog.pg_extension where extversion = %s order by 1", (EMPTY_VERSION,)
    )
    return tuple(name for (name,) in await cursor.fetchall())


def _write(path: Path, text: str, end: str = "trusted = true\n") -> None:
    path.write_text(text + end, encoding="utf-8")
    path.chmod(0o644)


def _setting(name: str, value: str) -> str:
    quoted = value.replace("'", "''")
    return f"{name} = '{quoted}'\n"

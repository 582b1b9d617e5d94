"""Applies a project's migrations, seed and buckets as the Supabase CLI does."""

from collections.abc import Sequence
from typing import Any, Final

import psycopg

from smelt.local.database import extensions
from smelt.local.errors import LocalPermanentError
from smelt.local.project import Migration, ProjectFiles

BUCKET: Final = """
insert into storage.buckets (id, name, public, file_size_limit, allowed_mime_types) values (%s, %s, %s, %s, %s)
on conflict (id) do update set public = excluded.public, file_size_limit = excluded.file_size_limit,
    allowed_mime_types = excluded.allowed_mime_types
"""
HISTORY: Final = """
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (
    version text not null primary key, statements text[], name text
);
"""


async def apply(connection: psycopg.AsyncConnection[Any], migrations: Sequence[Migration]) -> int:
    """Apply the pending migrations in order, each file with its record in one transaction; return their number.

    The history has the CLI's format, so that `supabase db push` finds nothing to do. Raises `LocalPermanentError` with
    the message of Postgres for the first file that fails.
    """
    notices = _Notices(connection)
    await connection.execute(HISTORY)
    rows = await connection.execute("select version from supabase_migrations.schema_migrations")
    known = {version for (version,) in await rows.fetchall()}
    pending = [migration for migration in migrations if migration.version not in known]
    for migration in pending:
        try:
            async with connection.transaction():
                await connection.execute(migration.text.encode())
                await connection.execute(
                    "insert into supabase_migrations.schema_migrations (version, name, statements) values (%s, %s, %s)",
                    (migration.version, migration.name, [migration.text]),
                )
        except psycopg.Error as exc:
            raise LocalPermanentError(
                f"migration {migration.version}_{migration.name}.sql fails: {notices.explain(exc)}"
            ) from exc
        await _reset_session(connection)
    return len(pending)


async def seed(connection: psycopg.AsyncConnection[Any], project: ProjectFiles) -> None:
    """Run the seed in one transaction and create the buckets; raise `LocalPermanentError` if the seed fails."""
    notices = _Notices(connection)
    if project.seed.strip():
        try:
            async with connection.transaction():
                await connection.execute(project.seed.encode())
        except psycopg.Error as exc:
            raise LocalPermanentError(f"seed.sql fails: {notices.explain(exc)}") from exc
        await _reset_session(connection)
    for bucket in project.buckets:
        types = None if bucket.mime_types is None else list(bucket.mime_types)
        await connection.execute(BUCKET, (bucket.name, bucket.name, bucket.public, bucket.file_size_limit, types))


async def _reset_session(connection: psycopg.AsyncConnection[Any]) -> None:
    # A role or search_path that a file sets must not affect the next file.
    await connection.execute("reset role")
    await connection.execute("reset all")


class _Notices:
    """Collects the notices of a session about extensions that the stack does not have."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._missing: list[str] = []
        connection.add_notice_handler(self._add)

    def explain(self, error: psycopg.Error) -> str:
        """Return the message of an error, and what it may be about: the missing extensions so far."""
        message = error.diag.message_primary or str(error)
        if error.diag.source_file == "extension.c":
            message += "; the embedded stack has only some extensions, use `supabase start` for others"
        if self._missing:
            message += f"; the embedded stack has nothing of {', '.join(dict.fromkeys(self._missing))}"
        return message

    def _add(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.sqlstate == extensions.MISSING_SQLSTATE and notice.message_detail is not None:
            self._missing.append(notice.message_detail)

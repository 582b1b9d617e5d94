"""Describes what a stack does not do for its project, for the user at the terminal."""

import psycopg

from smelt.local.database import extensions
from smelt.local.project import ProjectFiles


async def describe(project: ProjectFiles, dsn: str) -> tuple[str, ...]:
    """Return a sentence for each kind of setting or extension that has no effect; `dsn` connects as `postgres`."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        missing = await extensions.missing(connection)
    kinds = (("Settings of config.toml", project.ignored), ("Extensions", missing))
    return tuple(
        f"{kind} without effect in the embedded stack: {', '.join(names)}. Use `supabase start` for them."
        for kind, names in kinds
        if names
    )

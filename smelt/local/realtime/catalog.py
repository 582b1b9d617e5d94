"""Reads the system catalogs for postgres_changes: published tables, keys, types and column privileges."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from psycopg import sql
from psycopg.rows import class_row, dict_row

from smelt.local.realtime.authorization import Pool
from smelt.local.realtime.rendering import PgType

_PUBLISHED: Final = """
select c.oid::int8, n.nspname as schema, c.relname as name
from pg_publication_tables p
join pg_namespace n on n.nspname = p.schemaname
join pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
where p.pubname = 'supabase_realtime'
order by 1
"""
_FACTS: Final = """
select c.relrowsecurity as rls,
       coalesce((
           select array_agg(a.attname::text) from pg_index i
           join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
           where i.indrelid = c.oid and i.indisprimary
       ), '{}') as key,
       coalesce((
           select jsonb_object_agg(r.rolname, coalesce((
               select jsonb_agg(a.attname) from pg_attribute a
               where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                 and has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT')
           ), '[]'))
           from pg_roles r where r.rolname = any(%(roles)s)
       ), '{}') as readable
from pg_class c where c.oid = %(oid)s
"""
# `structured` types are those that `to_jsonb` does not write as text: arrays, composites, `json`, and types with a
# cast to it.
_TYPE: Final = """
with recursive types as (
    select t.*, 0 as depth from pg_type t where t.oid = %s
    union all
    select t.*, d.depth + 1 from types d join pg_type t on t.oid = d.typbasetype where d.typtype = 'd'
)
select t.oid::int8 as oid, t.typname::text as name, b.typname::text as base, format_type(t.oid, -1) as sql,
       b.typcategory in ('A', 'C') or b.typname = 'json'
       or exists (select from pg_cast where castsource = b.oid and casttarget = 'json'::regtype) as structured
from types t, (select * from types order by depth desc limit 1) b
where t.depth = 0
"""


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """A table of the publication `supabase_realtime`."""

    oid: int
    schema: str
    name: str


@dataclass(frozen=True, slots=True)
class TableFacts:
    """The current state of a table: row level security, the columns of its key, and the readable columns by role."""

    rls: bool
    key: tuple[str, ...]
    readable: dict[str, frozenset[str]]


class Catalog:
    """Reads the system catalogs; types are cached."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._types: dict[int, PgType] = {}

    async def published(self) -> tuple[PublishedTable, ...]:
        """Return the tables in the publication."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_PUBLISHED)
            return tuple(PublishedTable(*row) for row in await cursor.fetchall())

    async def facts(self, oid: int, roles: Collection[str]) -> TableFacts | None:
        """Return the current facts of a table; None if it does not exist."""
        async with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_FACTS, {"oid": oid, "roles": list(roles)})
            row = await cursor.fetchone()
        if row is None:
            return None
        readable = {role: frozenset(columns) for role, columns in row["readable"].items()}
        return TableFacts(row["rls"], tuple(row["key"]), readable)

    async def type_of(self, oid: int) -> PgType:
        """Return a type, from the cache after the first call."""
        if oid not in self._types:
            async with (
                self._pool.connection() as connection,
                connection.cursor(row_factory=class_row(PgType)) as cursor,
            ):
                await cursor.execute(_TYPE, (oid,))
                self._types[oid] = await cursor.fetchone() or PgType(oid, "unknown", "unknown", "text")
        return self._types[oid]

    async def write(self, values: Collection[tuple[PgType, str]]) -> dict[tuple[PgType, str], str]:
        """Convert values to JSON text in Postgres."""
        if not values:
            return {}
        casts = [sql.SQL("to_jsonb(%s::text::{})::text").format(sql.SQL(kind.sql)) for kind, _ in values]
        query = sql.SQL("select {}").format(sql.SQL(", ").join(casts))
        async with self._pool.connection() as connection:
            row = await (await connection.execute(query, [text for _, text in values])).fetchone()
        return dict(zip(values, row or (), strict=True))

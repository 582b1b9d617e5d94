"""What the changes of a table are told with: its key, its types, who may see which column, and the publication."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import psycopg
from psycopg.rows import dict_row

from smelt.local.realtime.authorization import Connection, Pool
from smelt.local.realtime.bindings import TEXT_OPERATORS, Binding, BindingRefused, Filter, split_list
from smelt.local.realtime.conditions import Condition
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
_TYPE: Final = """
select t.typname::text as name, t.typtype::text as kind, t.typbasetype::int8 as base, t.typdelim::text as delimiter,
       case when t.typcategory = 'A' then t.typelem else 0 end::int8 as element
from pg_type t where t.oid = %s
"""
_FILTER_COLUMN: Final = """
select format_type(t.oid, -1) as type_sql,
       case when t.typtype = 'e' then 'enum' when t.typtype = 'd' then b.typname else t.typname end::text as base,
       coalesce(b.typcategory, t.typcategory) = 'S' as textual
from pg_attribute a
join pg_type t on t.oid = a.atttypid
left join pg_type b on b.oid = t.typbasetype
where a.attrelid = %(oid)s and a.attname = %(column)s and a.attnum > 0 and not a.attisdropped
  and has_column_privilege(%(role)s, a.attrelid, a.attnum, 'SELECT')
"""
_OPERATORS: Final = {
    "eq": "=", "in": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "isdistinct": "is distinct from",
    "like": "like", "ilike": "ilike", "match": "~", "imatch": "~*",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """A table of the publication `supabase_realtime`."""

    oid: int
    schema: str
    name: str


@dataclass(frozen=True, slots=True)
class TableFacts:
    """A table as it is now: row level security, the columns of its key, and what each role may read."""

    rls: bool
    key: tuple[str, ...]
    readable: dict[str, frozenset[str]]


class Catalog:
    """Asks the system catalogues."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._types: dict[int, PgType] = {}

    async def published(self) -> tuple[PublishedTable, ...]:
        """Answer the tables whose changes are told."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_PUBLISHED)
            return tuple(PublishedTable(*row) for row in await cursor.fetchall())

    async def facts(self, oid: int, roles: Collection[str]) -> TableFacts | None:
        """Answer what is true of a table just now; None when it is gone."""
        async with self._pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_FACTS, {"oid": oid, "roles": list(roles)})
            row = await cursor.fetchone()
        if row is None:
            return None
        readable = {role: frozenset(columns) for role, columns in row["readable"].items()}
        return TableFacts(row["rls"], tuple(row["key"]), readable)

    async def type_of(self, oid: int) -> PgType:
        """Answer a type; asked once."""
        if oid not in self._types:
            async with self._pool.connection() as connection:
                self._types[oid] = await self._read_type(connection, oid)
        return self._types[oid]

    async def _read_type(self, connection: Connection, oid: int) -> PgType:
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_TYPE, (oid,))
            row = await cursor.fetchone()
        if row is None:
            return PgType(oid, "unknown", "unknown")
        if row["kind"] == "d":
            base = await self._read_type(connection, row["base"])
            return PgType(oid, row["name"], base.base, base.element, base.delimiter)
        element = await self._read_type(connection, row["element"]) if row["element"] else None
        delimiter = row["delimiter"] if element is None else element.delimiter
        return PgType(oid, row["name"], row["name"], element, delimiter)

    async def resolve(
        self, binding: Binding, role: str, published: Collection[PublishedTable]
    ) -> tuple[Condition, ...]:
        """Check a wish against the database, as this role; answer its filters resolved or raise BindingRefused."""
        tables = [table for table in published if binding.covers(table.schema, table.name)]
        if not tables:
            raise BindingRefused(
                "Unable to subscribe to changes with given parameters. Please check Realtime is enabled for the given "
                f"connect parameters: {binding}"
            )
        conditions: tuple[Condition, ...] = ()
        try:
            async with self._pool.connection() as connection:
                for table in tables:
                    conditions = tuple(
                        [await _resolve_filter(connection, table.oid, each, role) for each in binding.filters]
                    )
        except psycopg.Error as error:
            raise _exception(binding, error.sqlstate or "XX000", _message(error)) from error
        except _FilterRefused as error:
            raise _exception(binding, "P0001", str(error)) from error
        return conditions

    async def decide(self, condition: Condition, value: str) -> bool:
        """Let Postgres say whether a value meets a condition."""
        operator, type_sql = _OPERATORS[condition.filter.operator], condition.type_sql
        query = f"select bool_or(%s::text::{type_sql} {operator} each::{type_sql}) from unnest(%s::text[]) each"
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query.encode(), (value, list(condition.values)))
            row = await cursor.fetchone()
        return row is not None and row[0] is not None and row[0] is not condition.filter.negated


class _FilterRefused(Exception):
    pass


async def _resolve_filter(connection: Connection, oid: int, each: Filter, role: str) -> Condition:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_FILTER_COLUMN, {"oid": oid, "column": each.column, "role": role})
        row = await cursor.fetchone()
    if row is None:
        raise _FilterRefused(f"invalid column for filter {each.column}")
    type_sql = row["type_sql"]
    if each.operator in TEXT_OPERATORS and not row["textual"]:
        raise _FilterRefused(f"operator {each.operator} requires a text-compatible column type, got {type_sql}")
    values = split_list(each.value) if each.operator == "in" else [each.value]
    if each.operator != "is" and each.operator not in TEXT_OPERATORS:
        query = (
            f"select array_agg(format('%%s', v::{type_sql}) order by n) from unnest(%s::text[]) with ordinality u(v, n)"
        )
        read = await (await connection.execute(query.encode(), (values,))).fetchone()
        values = read[0] if read is not None else values
    return Condition(each, row["base"], type_sql, tuple(values))


def _exception(binding: Binding, sqlstate: str, message: str) -> BindingRefused:
    return BindingRefused(
        "Unable to subscribe to changes with given parameters. An exception happened so please check your connect "
        f"parameters: {binding}. Exception: ERROR {sqlstate} ({_condition_name(sqlstate)}) {message}"
    )


def _condition_name(sqlstate: str) -> str:
    try:
        name = psycopg.errors.lookup(sqlstate).__name__
    except KeyError:
        return "internal_error"
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _message(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error)

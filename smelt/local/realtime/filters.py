"""Validates filters of postgres_changes in the database, and evaluates those that need Postgres."""

import re
from collections.abc import Collection, Mapping
from typing import Final

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from smelt.local.realtime.authorization import Connection, Pool
from smelt.local.realtime.bindings import Binding, Filter, InvalidBinding
from smelt.local.realtime.catalog import PublishedTable
from smelt.local.realtime.conditions import Condition
from smelt.pickling import PicklableError

MAX_LISTED: Final = 100

_COLUMN: Final = """
select format_type(t.oid, -1) as type_sql, t.oid::regtype::text as type_name,
       case when t.typtype = 'e' then 'enum' when t.typtype = 'd' then b.typname else t.typname end::text as base,
       exists (select from pg_operator where oprname = '~~' and oprleft = t.oid) as has_like,
       exists (
           select from pg_operator
           where oprname = '~' and oprleft = t.oid and oprright = t.oid and oprresult = 'boolean'::regtype
       ) as has_match
from pg_attribute a
join pg_type t on t.oid = a.atttypid
left join pg_type b on b.oid = t.typbasetype
where a.attrelid = %(oid)s and a.attname = %(column)s and a.attnum > 0 and not a.attisdropped
  and has_column_privilege(%(role)s, a.attrelid, a.attnum, 'SELECT')
"""
# Fails for a role that does not exist.
_ROLE: Final = "select has_table_privilege(%s, 'pg_catalog.pg_class', 'SELECT')"
_READABLE: Final = """
select a.attname::text from pg_attribute a
where a.attrelid = %(oid)s and a.attnum > 0 and not a.attisdropped
  and has_column_privilege(%(role)s, a.attrelid, a.attnum, 'SELECT')
"""
_READ: Final = "select array[format('%%s', %s::text::{type})]"
_READ_LIST: Final = """
select coalesce(array_agg(case when a[i] is not null then format('%%s', a[i]) end order by i), '{{}}')
from (select %s::text::{type}[] as a) listed, generate_subscripts(a, 1) i
"""
# Null is handled before, so `isdistinct` is `<>`.
_OPERATORS: Final = {
    "eq": "=", "in": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">=", "isdistinct": "<>",
    "like": "like", "ilike": "ilike", "match": "~", "imatch": "~*",
}  # fmt: skip
_PATTERNS: Final = {"like": "has_like", "ilike": "has_like", "match": "has_match", "imatch": "has_match"}
_IS: Final = frozenset({"null", "true", "false", "unknown"})

Conditions = Mapping[int, tuple[Condition, ...]]
"""The conditions of a binding by table oid; each table has its own column types."""


class Filters:
    """Validates and evaluates filters in Postgres."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def resolve(self, binding: Binding, role: str, published: Collection[PublishedTable]) -> Conditions:
        """Validate a binding against the database for a role, and return its conditions; raise InvalidBinding."""
        tables = [table.oid for table in published if binding.includes_table(table.schema, table.name)]
        if not tables:
            raise InvalidBinding(
                "Unable to subscribe to changes with given parameters. Please check Realtime is enabled for the given "
                f"connect parameters: {binding}"
            )
        try:
            async with self._pool.connection() as connection:
                await connection.execute(_ROLE, (role,))
                return {oid: await _resolve_table(connection, oid, binding, role) for oid in tables}
        except psycopg.Error as error:
            raise _exception(binding, error.sqlstate or "XX000", _message(error)) from error
        except _InvalidFilter as error:
            raise _exception(binding, "P0001", str(error)) from error

    async def decide(self, condition: Condition, value: str) -> bool:
        """Evaluate a condition in Postgres; False if Postgres cannot evaluate it."""
        kind, operator = sql.SQL(condition.type_sql), sql.SQL(_OPERATORS[condition.filter.operator])
        expected: object = condition.values[0]
        right = sql.SQL("%s::text::{kind}")
        if condition.filter.operator == "in":
            expected, right = list(condition.values), sql.SQL("any(%s::text[]::{kind}[])")
        query = sql.SQL("select %s::text::{kind} {operator} {right}").format(
            kind=kind, operator=operator, right=right.format(kind=kind)
        )
        try:
            async with self._pool.connection() as connection:
                row = await (await connection.execute(query, (value, expected))).fetchone()
        except (psycopg.ProgrammingError, psycopg.DataError):
            return False
        return row is not None and row[0] is not None and row[0] is not condition.filter.negated


class _InvalidFilter(PicklableError):
    pass


async def _resolve_table(connection: Connection, oid: int, binding: Binding, role: str) -> tuple[Condition, ...]:
    conditions = [await _resolve(connection, oid, filter_, role) for filter_ in binding.filters]
    if binding.select is not None:
        rows = await (await connection.execute(_READABLE, {"oid": oid, "role": role})).fetchall()
        for column in binding.select:
            if (column,) not in rows:
                raise _InvalidFilter(f"invalid column for select {column}")
    return tuple(conditions)


async def _resolve(connection: Connection, oid: int, filter_: Filter, role: str) -> Condition:
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_COLUMN, {"oid": oid, "column": filter_.column, "role": role})
        column = await cursor.fetchone()
    if column is None:
        raise _InvalidFilter(f"invalid column for filter {filter_.column}")
    values: tuple[str | None, ...] = (filter_.value,)
    if filter_.operator == "is":
        _check_is(filter_.value, column["type_name"])
    elif filter_.operator in _PATTERNS:
        if not column[_PATTERNS[filter_.operator]]:
            raise _InvalidFilter(
                f"operator {filter_.operator} requires a text-compatible column type, got {column['type_name']}"
            )
        if filter_.operator in ("match", "imatch"):
            await _check_expression(connection, filter_)
    else:
        values = await _read_values(connection, filter_, column["type_sql"])
    return Condition(filter_, column["base"], column["type_sql"], values)


async def _read_values(connection: Connection, filter_: Filter, type_sql: str) -> tuple[str | None, ...]:
    query = sql.SQL(_READ_LIST if filter_.operator == "in" else _READ).format(type=sql.SQL(type_sql))
    row = await (await connection.execute(query, (filter_.value,))).fetchone()
    values = tuple(row[0]) if row is not None else ()
    if len(values) > MAX_LISTED:
        raise _InvalidFilter(f"too many values for `in` filter. Maximum {MAX_LISTED}")
    return values


def _check_is(value: str, type_name: str) -> None:
    if value not in _IS:
        raise _InvalidFilter("invalid value for is filter: must be null, true, false, or unknown")
    if value != "null" and type_name != "boolean":
        raise _InvalidFilter(f"is {value} filter requires a boolean column, got {type_name}")


async def _check_expression(connection: Connection, filter_: Filter) -> None:
    try:
        await connection.execute("select '' ~ %s", (filter_.value,))
    except psycopg.DataError as error:
        sentence = f"invalid regular expression for {filter_.operator} filter: {_message(error)}"
        raise _InvalidFilter(sentence) from error


def _exception(binding: Binding, sqlstate: str, message: str) -> InvalidBinding:
    return InvalidBinding(
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

"""Parses the bindings of postgres_changes and their filters; errors have the platform's wording."""

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from smelt.local.realtime.protocol import Json
from smelt.pickling import PicklableError

ACTIONS: Final = frozenset({"INSERT", "UPDATE", "DELETE"})
OPERATORS: Final = frozenset(
    {"eq", "neq", "lt", "lte", "gt", "gte", "in", "like", "ilike", "is", "match", "imatch", "isdistinct"}
)
_ID_RANGE: Final = 2**27
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_QUOTE_OPENS_AFTER: Final = frozenset(".(,")


class InvalidBinding(PicklableError):
    """A binding that is not valid; the text is the `message` of the system event."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on a column; `value` is text, for `in` an array literal of Postgres."""

    column: str
    operator: str
    value: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Binding:
    """An entry of `postgres_changes`; `*` means all schemas, tables or actions.

    As in SQL's `like`, names may contain the wildcards `%` and `_`.
    """

    id: int
    schema: str
    table: str
    action: str
    filters: tuple[Filter, ...]
    select: tuple[str, ...] | None

    def includes_table(self, schema: str, table: str) -> bool:
        """Return True if the binding includes a table."""
        return _is_like(schema, self.schema) and _is_like(table, self.table)

    def includes_action(self, action: str) -> bool:
        """Return True if the binding includes an action."""
        return self.action in ("*", action)

    def __str__(self) -> str:
        select = "nil" if self.select is None else inspect(list(self.select))
        filters = ", ".join(
            f"{{{inspect(f.column)}, {inspect(f.operator)}, {inspect(f.value)}, {inspect(f.negated)}}}"
            for f in self.filters
        )
        return (
            f"[event: {self.action}, schema: {self.schema}, table: {self.table}, "
            f"filters: [{filters}], select: {select}]"
        )


def _is_like(name: str, pattern: str) -> bool:
    wild = {"%": ".*", "_": "."}
    return (
        pattern == "*" or re.fullmatch("".join(wild.get(c, re.escape(c)) for c in pattern), name, re.DOTALL) is not None
    )


def binding_id(params: Json) -> int:
    """Return the id of a binding, which depends only on its parameters."""
    return zlib.crc32(json.dumps(params, sort_keys=True).encode()) % _ID_RANGE


def parse_binding(params: Json) -> Binding:
    """Parse one entry of `postgres_changes`; raise InvalidBinding."""
    if not isinstance(params, dict):
        raise _missing_params(params)
    schema, table, filters = _parse_target(params)
    event, select = params.get("event"), _parse_select(params.get("select"))
    action = event.upper() if isinstance(event, str) and event.upper() in ACTIONS else "*"
    conditions = parse_filters(filters)
    if select is not None and "*" in (schema, table):
        raise InvalidBinding(
            "Column selection is not supported for wildcard subscriptions. Provide an explicit schema and table name."
        )
    return Binding(binding_id(params), schema, table, action, conditions, select)


def _parse_select(select: Json) -> tuple[str, ...] | None:
    if isinstance(select, str):
        raise InvalidBinding(
            'Error parsing `select` params: expected a list of column name strings, e.g. select: ["col1", "col2"]'
        )
    columns = [column for column in select if isinstance(column, str)] if isinstance(select, list) else []
    return tuple(columns) or None


def _parse_target(params: Mapping[str, Json]) -> tuple[str, str, str]:
    match params:
        case {"schema": str(schema), "table": str(table), "filter": str(filters)}:
            return schema, table, filters
        case {"filter": _}:
            raise _missing_params(params)
        case {"schema": str(schema), "table": str(table)}:
            return schema, table, ""
        case {"schema": str(schema)} if "table" not in params:
            return schema, "*", ""
        case {"table": str(table)} if "schema" not in params:
            return "public", table, ""
        case _:
            raise _missing_params(params)


def parse_filters(text: str) -> tuple[Filter, ...]:
    """Parse conditions separated by commas outside parentheses and quotes; raise InvalidBinding."""
    return tuple(_parse_filter(part.strip()) for part in _split_conditions(text.strip())) if text.strip() else ()


def _split_conditions(text: str) -> list[str]:
    parts, depth, start, at = [], 0, 0, 0
    while at < len(text):
        quoted = _QUOTED.match(text, at) if at > start and text[at - 1] in _QUOTE_OPENS_AFTER else None
        if quoted is not None:
            at = quoted.end()
            continue
        char = text[at]
        depth += (char == "(") - (char == ")" and depth > 0)
        if char == "," and depth == 0:
            parts.append(text[start:at])
            start = at + 1
        at += 1
    return [*parts, text[start:]]


def _parse_filter(text: str) -> Filter:
    if not text:
        raise _invalid_filter("filter must not contain empty segments (check for extra commas)")
    column, equals, condition = text.partition("=")
    if not equals:
        raise _invalid_filter(inspect([text]))
    negated = condition.startswith("not.")
    words: list[Json] = [*condition.removeprefix("not.").split(".", 1)]
    match words:
        case ["in", str(value)] if len(value) > 1 and value[0] == "(" and value[-1] == ")":
            return Filter(column, "in", f"{{{value[1:-1]}}}", negated)
        case ["in", _]:
            raise _invalid_filter("`in` filter value must be wrapped by parentheses")
        case [str(operator), str(value)] if operator in OPERATORS:
            return Filter(column, operator, _unquoted(value), negated)
        case _:
            raise _invalid_filter(inspect(words))


def _unquoted(value: str) -> str:
    quoted = _QUOTED.fullmatch(value)
    return value if quoted is None else re.sub(r"\\(.)", r"\1", quoted[1], flags=re.DOTALL)


def _missing_params(params: Json) -> InvalidBinding:
    return InvalidBinding(
        "No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: "
        + inspect(params)
    )


def _invalid_filter(reason: str) -> InvalidBinding:
    return InvalidBinding(f"Error parsing `filter` params: {reason}")


def inspect(value: Json) -> str:
    """Format a JSON value as Elixir's `inspect`, which the platform uses in its error messages."""
    match value:
        case None:
            return "nil"
        case dict():
            return "%{" + ", ".join(f"{inspect(key)} => {inspect(value[key])}" for key in sorted(value)) + "}"
        case list():
            return "[" + ", ".join(map(inspect, value)) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)

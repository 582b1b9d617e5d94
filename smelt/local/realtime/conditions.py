"""Evaluates filters of postgres_changes on values in text form, as far as the text is sufficient."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

from smelt.local.realtime.bindings import Filter
from smelt.local.realtime.rendering import NON_FINITE, NUMBERS
from smelt.pickling import PicklableError

_NUMERIC: Final = frozenset({"int2", "int4", "int8", "oid", "numeric"})
_EQUAL_AS_TEXT: Final = frozenset(
    {"text", "varchar", "name", "uuid", "bool", "date", "timestamp", "timestamptz", "enum"}
)
_IS: Final = {"true": "t", "false": "f"}


@dataclass(frozen=True, slots=True)
class Condition:
    """A filter whose values Postgres has normalized to the column's type.

    `base` is the name of the type (`enum` for all enums), `type_sql` its name in SQL. `values` has one value, or for
    `in` any number.
    """

    filter: Filter
    base: str
    type_sql: str
    values: tuple[str | None, ...]


class Undecided(PicklableError):
    """The text form is not sufficient; Postgres must evaluate the condition."""


def evaluate(condition: Condition, value: str | None) -> bool:
    """Return True if a value matches a condition; raise Undecided. Null matches only `is` and `isdistinct`.

    NaN and infinities count as null, since clients receive them as null.
    """
    verdict = _evaluate(condition, None if value in NON_FINITE and condition.base in NUMBERS else value)
    return verdict is not None and verdict is not condition.filter.negated


def _evaluate(condition: Condition, value: str | None) -> bool | None:
    operator, base = condition.filter.operator, condition.base
    expected = [item for item in condition.values if item is not None]
    if operator == "is":
        return _is(expected[0], value)
    if value is None:
        return True if operator == "isdistinct" else None
    if operator in ("eq", "in"):
        is_match = any(_compare(base, value, item) == 0 for item in expected)
        # A comparison with a null among the values has no result.
        return None if not is_match and len(expected) < len(condition.values) else is_match
    if operator in ("neq", "isdistinct"):
        return _compare(base, value, expected[0]) != 0
    if operator in ("lt", "lte", "gt", "gte"):
        if base not in _NUMERIC:
            raise Undecided
        order = _compare(base, value, expected[0])
        return {"lt": order < 0, "lte": order <= 0, "gt": order > 0, "gte": order >= 0}[operator]
    raise Undecided


def _is(expected: str, value: str | None) -> bool:
    if expected in _IS:
        return value == _IS[expected]
    return value is None  # `null`, or `unknown` for a boolean null.


def _compare(base: str, value: str, expected: str) -> int:
    if base in _NUMERIC:
        try:
            left, right = Decimal(value), Decimal(expected)
        except InvalidOperation as error:
            raise Undecided from error
        if left.is_nan() or right.is_nan():
            raise Undecided
        return (left > right) - (left < right)
    if base not in _EQUAL_AS_TEXT:
        raise Undecided
    return int(value != expected)

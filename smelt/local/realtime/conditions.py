"""Filters of postgres_changes against the values of a row, as far as the text form of the values decides it."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final

from smelt.local.realtime.bindings import Filter
from smelt.local.realtime.rendering import NO_NUMBERS, NUMBERS
from smelt.pickling import PicklableError

_NUMERIC: Final = frozenset({"int2", "int4", "int8", "oid", "numeric"})
_EQUAL_AS_TEXT: Final = frozenset(
    {"text", "varchar", "name", "uuid", "bool", "date", "timestamp", "timestamptz", "enum"}
)
_IS: Final = {"true": "t", "false": "f"}


@dataclass(frozen=True, slots=True)
class Condition:
    """A filter whose values Postgres has read as the column's type and written again.

    `base` is the type's name (`enum` for all of those), `type_sql` how SQL names it. `values` has one, for `in` any
    number.
    """

    filter: Filter
    base: str
    type_sql: str
    values: tuple[str | None, ...]


class Undecided(PicklableError):
    """The text form does not tell; Postgres has to be asked."""


def evaluate(condition: Condition, value: str | None) -> bool:
    """Say whether a value meets a condition; raise Undecided. Null meets nothing but `is` and `isdistinct`.

    What is no number counts as null, which is what clients are told of it.
    """
    verdict = _evaluate(condition, None if value in NO_NUMBERS and condition.base in NUMBERS else value)
    return verdict is not None and verdict is not condition.filter.negated


def _evaluate(condition: Condition, value: str | None) -> bool | None:
    operator, base = condition.filter.operator, condition.base
    wanted = [each for each in condition.values if each is not None]
    if operator == "is":
        return _is(wanted[0], value)
    if value is None:
        return True if operator == "isdistinct" else None
    if operator in ("eq", "in"):
        met = any(_compare(base, value, each) == 0 for each in wanted)
        # Whether it equals a null among the values, nobody knows.
        return None if not met and len(wanted) < len(condition.values) else met
    if operator in ("neq", "isdistinct"):
        return _compare(base, value, wanted[0]) != 0
    if operator in ("lt", "lte", "gt", "gte"):
        if base not in _NUMERIC:
            raise Undecided
        order = _compare(base, value, wanted[0])
        return {"lt": order < 0, "lte": order <= 0, "gt": order > 0, "gte": order >= 0}[operator]
    raise Undecided


def _is(wanted: str, value: str | None) -> bool:
    if wanted in _IS:
        return value == _IS[wanted]
    return value is None  # `null`, and `unknown`, which is what a boolean null is.


def _compare(base: str, value: str, wanted: str) -> int:
    if base in _NUMERIC:
        try:
            left, right = Decimal(value), Decimal(wanted)
        except InvalidOperation as error:
            raise Undecided from error
        if left.is_nan() or right.is_nan():
            raise Undecided
        return (left > right) - (left < right)
    if base not in _EQUAL_AS_TEXT:
        raise Undecided
    return int(value != wanted)

"""Values of Postgres as JSON: from the text form that the log has to what a client of postgres_changes receives.

Numbers keep every digit. A record's keys are in the order that Postgres gives to the keys of `jsonb`.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from smelt.local.realtime.protocol import dump

_NUMERIC: Final = frozenset({"int2", "int4", "int8", "float4", "float8", "numeric", "oid"})
_PLAIN_IN_ARRAYS: Final = frozenset({"bytea", "bpchar"})
_NO_NUMBERS: Final = frozenset({"NaN", "Infinity", "-Infinity"})


@dataclass(frozen=True, slots=True)
class PgType:
    """A type: `name` as `pg_type` has it, `base` of a domain (else the same), `element` of an array, its delimiter."""

    oid: int
    name: str
    base: str
    element: "PgType | None" = None
    delimiter: str = ","


def render(pg_type: PgType, text: str) -> str:
    """Write one value, given in Postgres' text form, as JSON text."""
    if pg_type.element is not None:
        return _render_array(pg_type, text)
    if pg_type.base in _NUMERIC and text in _NO_NUMBERS:
        return "null"
    return _render_scalar(pg_type.base, text)


def render_record(values: Mapping[str, str]) -> str:
    """Write a record of values that are JSON text."""
    return "{" + ", ".join(f"{dump(key)}: {values[key]}" for key in jsonb_order(values)) + "}"


def jsonb_order(keys: Iterable[str]) -> list[str]:
    """The order of keys in `jsonb`: short ones first."""
    return sorted(keys, key=lambda key: (len(key.encode()), key.encode()))


def _render_scalar(base: str, text: str) -> str:
    if base in _NUMERIC:
        return dump(text) if text in _NO_NUMBERS else text
    convert = _CONVERSIONS.get(base)
    return dump(text) if convert is None else convert(text)


def _render_json(text: str) -> str:
    return text


def _render_normalised_json(text: str) -> str:
    # What `jsonb` does to `json`: keys in its order, the last of equal ones, numbers as they are.
    return _dump_normalised(json.loads(text, parse_int=_Number, parse_float=_Number))


class _Number(str):
    """A number in the form that it was written in."""

    __slots__ = ()


def _dump_normalised(value: object) -> str:
    match value:
        case _Number():
            return value
        case dict():
            return render_record({key: _dump_normalised(item) for key, item in value.items()})
        case list():
            return "[" + ", ".join(map(_dump_normalised, value)) + "]"
        case _:
            return dump(value)


def _render_timestamp(text: str) -> str:
    if text.endswith("infinity"):
        return dump(text)
    date, _, time = text.partition(" ")
    # The log is read in UTC, which Postgres writes as `+00`.
    return dump(f"{date}T{time}:00" if time.endswith("+00") else f"{date}T{time}")


_CONVERSIONS: Final[dict[str, Callable[[str], str]]] = {
    "bool": lambda text: "true" if text == "t" else "false",
    "jsonb": _render_json,
    "json": _render_normalised_json,
    "timestamptz": _render_timestamp,
    "timestamp": _render_timestamp,
    "bytea": lambda text: dump(text.removeprefix("\\x")),
    "bpchar": lambda text: dump(text.rstrip(" ")),
}


def _render_array(pg_type: PgType, text: str) -> str:
    items, at = _parse_array(text, text.index("{"), pg_type.delimiter)
    return _render_items(pg_type, items) if at == len(text) else dump(text)


Items = list["str | Items | None"]


def _render_items(pg_type: PgType, items: Items) -> str:
    element = pg_type.element
    assert element is not None
    parts = []
    for item in items:
        match item:
            case None:
                parts.append("null")
            case list():
                parts.append(_render_items(pg_type, item))
            case _:
                parts.append(dump(item) if element.base in _PLAIN_IN_ARRAYS else _render_scalar(element.base, item))
    return "[" + ", ".join(parts) + "]"


def _parse_array(text: str, at: int, delimiter: str) -> tuple[Items, int]:
    """Parse an array literal from its brace on; answer the items and where it ends."""
    items: Items = []
    at += 1
    while text[at] != "}":
        item: str | Items | None
        match text[at]:
            case "{":
                item, at = _parse_array(text, at, delimiter)
            case '"':
                item, at = _parse_quoted(text, at)
            case _:
                end = at
                while text[end] not in (delimiter, "}"):
                    end += 1
                word, at = text[at:end], end
                item = None if word == "NULL" else word
        items.append(item)
        at += text[at] == delimiter
    return items, at + 1


def _parse_quoted(text: str, at: int) -> tuple[str, int]:
    chars = []
    at += 1
    while text[at] != '"':
        at += text[at] == "\\"
        chars.append(text[at])
        at += 1
    return "".join(chars), at + 1

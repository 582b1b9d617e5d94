"""Converts values from Postgres's text form in the WAL to JSON as clients of postgres_changes receive it.

Numbers keep every digit. The keys of a record have the order of `jsonb`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from smelt.local.realtime.protocol import dump

_FLOATS: Final = frozenset({"float4", "float8"})
NUMBERS: Final = frozenset({"int2", "int4", "int8", "numeric"}) | _FLOATS
NON_FINITE: Final = frozenset({"NaN", "Infinity", "-Infinity"})


@dataclass(frozen=True, slots=True)
class PgType:
    """A type: its `name` in `pg_type`, the `base` type of a domain (else the same name), and its name in `sql`.

    Only Postgres can convert `structured` values to JSON: arrays, composites, and types with their own JSON form.
    """

    oid: int
    name: str
    base: str
    sql: str
    structured: bool = False


JSON_TEXT: Final = "jsonb"
"""The base type of values that are JSON text already."""


def needs_postgres(pg_type: PgType, text: str) -> bool:
    """Return True if only Postgres can convert this value to JSON; of floats it expands the exponents."""
    return pg_type.structured or (pg_type.base in _FLOATS and text not in NON_FINITE)


def render(pg_type: PgType, text: str) -> str:
    """Return the JSON text of a value in Postgres's text form."""
    if pg_type.base in NUMBERS:
        return "null" if text in NON_FINITE else text
    convert = _CONVERSIONS.get(pg_type.base)
    return dump(text) if convert is None else convert(text)


def render_record(values: Mapping[str, str]) -> str:
    """Return the JSON text of a record whose values are JSON text."""
    return "{" + ", ".join(f"{dump(key)}: {values[key]}" for key in jsonb_order(values)) + "}"


def jsonb_order(keys: Iterable[str]) -> list[str]:
    """Return keys in the order of `jsonb`: by length, then by bytes."""
    return sorted(keys, key=lambda key: (len(key.encode()), key.encode()))


def _render_json(text: str) -> str:
    return text


def _render_timestamp(text: str) -> str:
    if text.endswith("infinity"):
        return dump(text)
    date, _, time = text.partition(" ")
    # The stream uses UTC, which Postgres writes as `+00`; ` BC` may follow.
    return dump(f"{date}T{time.replace('+00', '+00:00')}")


_CONVERSIONS: Final[dict[str, Callable[[str], str]]] = {
    "bool": lambda text: "true" if text == "t" else "false",
    JSON_TEXT: _render_json,
    "timestamptz": _render_timestamp,
    "timestamp": _render_timestamp,
    "bytea": lambda text: dump(text.removeprefix("\\x")),
    "bpchar": lambda text: dump(text.rstrip(" ")),
}

"""Values of Postgres as JSON: from the text form that the log has to what a client of postgres_changes receives.

Numbers keep every digit. A record's keys are in the order that Postgres gives to the keys of `jsonb`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from smelt.local.realtime.protocol import dump

_FLOATS: Final = frozenset({"float4", "float8"})
NUMBERS: Final = frozenset({"int2", "int4", "int8", "numeric"}) | _FLOATS
NO_NUMBERS: Final = frozenset({"NaN", "Infinity", "-Infinity"})


@dataclass(frozen=True, slots=True)
class PgType:
    """A type: `name` as `pg_type` has it, `base` of a domain (else the same), `sql` as SQL names it.

    `structured` values (arrays, composites, whatever has a JSON form of its own) only Postgres can write as JSON.
    """

    oid: int
    name: str
    base: str
    sql: str
    structured: bool = False


WRITTEN: Final = "jsonb"
"""The base of a value that is JSON text already."""


def needs_postgres(pg_type: PgType, text: str) -> bool:
    """Say whether only Postgres can write this value as JSON; for floats, it writes their exponents out."""
    return pg_type.structured or (pg_type.base in _FLOATS and text not in NO_NUMBERS)


def render(pg_type: PgType, text: str) -> str:
    """Write one value, given in Postgres' text form, as JSON text."""
    if pg_type.base in NUMBERS:
        return "null" if text in NO_NUMBERS else text
    convert = _CONVERSIONS.get(pg_type.base)
    return dump(text) if convert is None else convert(text)


def render_record(values: Mapping[str, str]) -> str:
    """Write a record of values that are JSON text."""
    return "{" + ", ".join(f"{dump(key)}: {values[key]}" for key in jsonb_order(values)) + "}"


def jsonb_order(keys: Iterable[str]) -> list[str]:
    """The order of keys in `jsonb`: short ones first."""
    return sorted(keys, key=lambda key: (len(key.encode()), key.encode()))


def _render_json(text: str) -> str:
    return text


def _render_timestamp(text: str) -> str:
    if text.endswith("infinity"):
        return dump(text)
    date, _, time = text.partition(" ")
    # The log is read in UTC, which Postgres writes as `+00`; ` BC` may follow.
    return dump(f"{date}T{time.replace('+00', '+00:00')}")


_CONVERSIONS: Final[dict[str, Callable[[str], str]]] = {
    "bool": lambda text: "true" if text == "t" else "false",
    WRITTEN: _render_json,
    "timestamptz": _render_timestamp,
    "timestamp": _render_timestamp,
    "bytea": lambda text: dump(text.removeprefix("\\x")),
    "bpchar": lambda text: dump(text.rstrip(" ")),
}

"""Conversion of Postgres values to JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.local.realtime.rendering import PgType, jsonb_order, needs_postgres, render, render_record


def scalar(name: str) -> PgType:
    return PgType(0, name, name, name)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("numeric", "12345678901234567890.123456789", "12345678901234567890.123456789"),
        ("numeric", "10.50", "10.50"),
        ("int8", "9007199254740993", "9007199254740993"),
        ("float8", "NaN", "null"),
        ("float4", "-Infinity", "null"),
        ("bool", "t", "true"),
        ("bool", "f", "false"),
        ("jsonb", '{"f": 1.50}', '{"f": 1.50}'),
        ("timestamptz", "2026-01-02 01:04:05.678901+00", '"2026-01-02T01:04:05.678901+00:00"'),
        ("timestamptz", "infinity", '"infinity"'),
        ("timestamp", "2026-01-02 03:04:05.5", '"2026-01-02T03:04:05.5"'),
        ("bytea", "\\xdeadbeef", '"deadbeef"'),
        ("bpchar", "c    ", '"c"'),
        ("text", 'te"xt ü', '"te\\"xt ü"'),
        ("timetz", "03:04:05+02", '"03:04:05+02"'),
    ],
)
def test_values_are_rendered_like_on_the_platform(name: str, text: str, expected: str) -> None:
    assert render(scalar(name), text) == expected


def test_values_with_parts_or_exponents_need_postgres() -> None:
    assert needs_postgres(PgType(0, "_text", "_text", "text[]", structured=True), "{a}")
    assert needs_postgres(scalar("float8"), "1e+20")
    assert not needs_postgres(scalar("float8"), "NaN")
    assert not needs_postgres(scalar("text"), "1e+20")


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers().map(str)))
def test_record_keys_are_in_jsonb_order(values: dict[str, str]) -> None:
    record = json.loads(render_record(values))
    assert record == {key: int(value) for key, value in values.items()}
    lengths = [len(key.encode()) for key in record]
    assert lengths == sorted(lengths)
    assert list(record) == jsonb_order(values)

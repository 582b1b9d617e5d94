"""Values of Postgres as JSON."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.local.realtime.rendering import PgType, jsonb_order, render, render_record


def scalar(name: str) -> PgType:
    return PgType(0, name, name)


def array(name: str, delimiter: str = ",") -> PgType:
    return PgType(0, f"_{name}", f"_{name}", scalar(name), delimiter)


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
        ("json", '{"b":1, "aa":[1.50,{"x":null}], "a":2, "b":3}', '{"a": 2, "b": 3, "aa": [1.50, {"x": null}]}'),
        ("timestamptz", "2026-01-02 01:04:05.678901+00", '"2026-01-02T01:04:05.678901+00:00"'),
        ("timestamptz", "infinity", '"infinity"'),
        ("timestamp", "2026-01-02 03:04:05.5", '"2026-01-02T03:04:05.5"'),
        ("bytea", "\\xdeadbeef", '"deadbeef"'),
        ("bpchar", "c    ", '"c"'),
        ("text", 'te"xt ü', '"te\\"xt ü"'),
        ("timetz", "03:04:05+02", '"03:04:05+02"'),
    ],
)
def test_values_look_as_on_the_platform(name: str, text: str, expected: str) -> None:
    assert render(scalar(name), text) == expected


@pytest.mark.parametrize(
    ("pg_type", "text", "expected"),
    [
        (array("text"), '{a,"b c",NULL,"q\\"x","NULL"}', ["a", "b c", None, 'q"x', "NULL"]),
        (array("int4"), "{1,2}", [1, 2]),
        (array("int4"), "{{1,2},{3,4}}", [[1, 2], [3, 4]]),
        (array("int4"), "[0:1]={1,2}", [1, 2]),
        (array("int4"), "{}", []),
        (array("jsonb"), '{"{\\"a\\": 1}"}', [{"a": 1}]),
        (array("float8"), "{NaN,1.5}", ["NaN", 1.5]),
        (array("bytea"), '{"\\\\x00ff"}', ["\\x00ff"]),
        (array("box", ";"), "{(1,1),(0,0);(2,2),(1,1)}", ["(1,1),(0,0)", "(2,2),(1,1)"]),
    ],
)
def test_arrays_are_read_with_all_their_quoting(pg_type: PgType, text: str, expected: Any) -> None:
    assert json.loads(render(pg_type, text)) == expected


def write_array(items: list[Any]) -> str:
    def write(item: Any) -> str:
        if item is None:
            return "NULL"
        if isinstance(item, list):
            return write_array(item)
        return '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"'

    return "{" + ",".join(map(write, items)) + "}"


texts = st.none() | st.text(st.characters(codec="utf-8"))
nested = st.recursive(st.lists(texts), st.lists, max_leaves=10)


@given(nested)
def test_an_array_of_any_text_is_read_as_it_was_written(items: list[Any]) -> None:
    assert json.loads(render(array("text"), write_array(items))) == items


def test_what_follows_an_array_makes_it_text() -> None:
    assert render(array("text"), "{a}b") == '"{a}b"'


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers().map(str)))
def test_a_record_has_its_keys_in_the_order_of_jsonb(values: dict[str, str]) -> None:
    record = json.loads(render_record(values))
    assert record == {key: int(value) for key, value in values.items()}
    lengths = [len(key.encode()) for key in record]
    assert lengths == sorted(lengths)
    assert list(record) == jsonb_order(values)

"""Bindings of postgres_changes, and their error messages."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.local.realtime.bindings import (
    OPERATORS,
    Filter,
    InvalidBinding,
    binding_id,
    inspect,
    parse_binding,
    parse_filters,
)

TODOS = {"event": "*", "schema": "public", "table": "todos"}


def error_message(params: Any) -> str:
    with pytest.raises(InvalidBinding) as caught:
        parse_binding(params)
    return str(caught.value)


def test_binding_ids_are_equal_for_equal_bindings() -> None:
    assert binding_id(TODOS) == binding_id(dict(reversed(TODOS.items()))) != binding_id({**TODOS, "event": "INSERT"})


@pytest.mark.parametrize(
    ("params", "schema", "table"),
    [({"schema": "s", "table": "t"}, "s", "t"), ({"schema": "s"}, "s", "*"), ({"table": "t"}, "public", "t")],
)
def test_binding_may_omit_schema_or_table(params: dict[str, str], schema: str, table: str) -> None:
    binding = parse_binding(params)
    assert (binding.schema, binding.table, binding.action) == (schema, table, "*")
    assert binding.includes_table(schema, "t")
    assert not binding.includes_table("other", "t")


@pytest.mark.parametrize(("event", "action"), [("insert", "INSERT"), ("FOO", "*"), (5, "*"), ("DELETE", "DELETE")])
def test_binding_with_an_unknown_event_covers_all_events(event: Any, action: str) -> None:
    binding = parse_binding({**TODOS, "event": event})
    assert binding.action == action
    assert binding.includes_action("INSERT") is (action != "DELETE")


@pytest.mark.parametrize(
    ("params", "quoted"),
    [
        ({"event": "*"}, '%{"event" => "*"}'),
        ({**TODOS, "filter": None}, '%{"event" => "*", "filter" => nil, "schema" => "public", "table" => "todos"}'),
        ({"schema": 5, "table": "t"}, '%{"schema" => 5, "table" => "t"}'),
        ({"schema": "s", "filter": "a=eq.1"}, '%{"filter" => "a=eq.1", "schema" => "s"}'),
        ("x", '"x"'),
        ([1, True], "[1, true]"),
    ],
)
def test_binding_without_schema_and_table_is_quoted_in_the_error(params: Any, quoted: str) -> None:
    assert error_message(params) == (
        f"No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: {quoted}"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("id=foo.1", '["foo", "1"]'),
        ("id", '["id"]'),
        ("id=eq", '["eq"]'),
        ("title=in.a,b", "`in` filter value must be wrapped by parentheses"),
        ("title=in.(", "`in` filter value must be wrapped by parentheses"),
        ("id=eq.1,", "filter must not contain empty segments (check for extra commas)"),
    ],
)
def test_filter_that_is_invalid_is_quoted_in_the_error(text: str, sentence: str) -> None:
    assert error_message({**TODOS, "filter": text}) == f"Error parsing `filter` params: {sentence}"


def test_filter_conditions_split_at_commas_outside_quotes() -> None:
    assert parse_filters(' a=in.(x,"y,)"), b=not.eq.1.5,c=is.null ') == (
        Filter("a", "in", '{x,"y,)"}'),
        Filter("b", "eq", "1.5", negated=True),
        Filter("c", "is", "null"),
    )
    assert parse_filters('a=eq."x, \\"y\\"",b=eq.it"s') == (Filter("a", "eq", 'x, "y"'), Filter("b", "eq", 'it"s'))
    assert parse_filters("") == parse_filters("  ") == ()
    assert parse_filters("a=eq.)")[0].value == ")"
    assert parse_filters('a=eq."x')[0].value == '"x'


@given(st.from_regex(r"[a-z_]+", fullmatch=True), st.sampled_from(sorted(OPERATORS - {"in"})), st.booleans())
def test_filter_operators_can_be_negated(column: str, operator: str, negated: bool) -> None:
    text = f"{column}={'not.' if negated else ''}{operator}.v"
    assert parse_filters(text) == (Filter(column, operator, "v", negated),)


def test_binding_text_contains_all_its_parts() -> None:
    binding = parse_binding({**TODOS, "filter": "id=eq.x", "select": ["a"]})
    assert str(binding) == (
        '[event: *, schema: public, table: todos, filters: [{"id", "eq", "x", false}], select: ["a"]]'
    )
    assert str(parse_binding(TODOS)).endswith("filters: [], select: nil]")


@pytest.mark.parametrize("select", [None, 5, [], [5]])
def test_binding_with_an_empty_select_selects_all_columns(select: Any) -> None:
    assert parse_binding({**TODOS, "select": select}).select is None


def test_binding_select_must_be_a_list_for_a_single_table() -> None:
    assert error_message({**TODOS, "select": "a"}).startswith(
        "Error parsing `select` params: expected a list of column name"
    )
    assert error_message({"schema": "public", "select": ["a"]}).startswith(
        "Column selection is not supported for wildcard"
    )


def test_inspect_quotes_values_like_elixir() -> None:
    assert inspect({"b": [None, 1.5], "a": False}) == '%{"a" => false, "b" => [nil, 1.5]}'

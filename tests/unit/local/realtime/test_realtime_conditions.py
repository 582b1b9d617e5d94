"""Evaluation of filters on the values of a row."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.local.realtime.bindings import Filter
from smelt.local.realtime.conditions import Condition, Undecided, evaluate


def condition(operator: str, *values: str | None, base: str = "text", negated: bool = False) -> Condition:
    return Condition(Filter("c", operator, str(values), negated), base, base, values)


@pytest.mark.parametrize(
    ("operator", "expected", "value", "met"),
    [
        ("eq", "a", "a", True),
        ("eq", "a", "b", False),
        ("neq", "a", "b", True),
        ("isdistinct", "a", "b", True),
        ("isdistinct", "a", None, True),
        ("isdistinct", "a", "a", False),
        ("eq", "a", None, False),
        ("neq", "a", None, False),
        ("is", "null", None, True),
        ("is", "null", "a", False),
        ("is", "unknown", None, True),
        ("is", "true", "t", True),
        ("is", "true", "f", False),
        ("is", "false", None, False),
    ],
)
def test_condition_compares_text_exactly(operator: str, expected: str, value: str | None, met: bool) -> None:
    assert evaluate(condition(operator, expected), value) is met


def test_condition_in_matches_any_of_its_values() -> None:
    assert evaluate(condition("in", "a", "b"), "b")
    assert not evaluate(condition("in", "a", "b"), "c")
    assert not evaluate(condition("in"), "c")
    assert evaluate(condition("in", negated=True), "c")


def test_condition_in_with_null_follows_sql_logic() -> None:
    assert evaluate(condition("in", "a", None), "a")
    assert not evaluate(condition("in", "a", None), "b")
    assert not evaluate(condition("in", "a", None, negated=True), "b")


def test_condition_negated_is_not_met_by_null() -> None:
    assert evaluate(condition("eq", "a", negated=True), "b")
    assert not evaluate(condition("eq", "a", negated=True), "a")
    assert not evaluate(condition("eq", "a", negated=True), None)
    assert not evaluate(condition("is", "null", negated=True), None)


@pytest.mark.parametrize("base", ["numeric", "float8"])
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_condition_treats_nan_and_infinity_as_null(base: str, value: str) -> None:
    assert not evaluate(condition("gt", "1", base=base), value)
    assert not evaluate(condition("neq", "1", base=base), value)
    assert evaluate(condition("is", "null", base=base), value)


numbers = st.decimals(allow_nan=False, allow_infinity=False, places=3)


@given(numbers, numbers)
def test_condition_compares_numbers_numerically(value: Decimal, expected: Decimal) -> None:
    def met(operator: str) -> bool:
        return evaluate(condition(operator, str(expected), base="numeric"), str(value))

    assert met("eq") is (value == expected)
    assert met("neq") is (value != expected)
    assert met("lt") is (value < expected)
    assert met("lte") is (value <= expected)
    assert met("gt") is (value > expected)
    assert met("gte") is (value >= expected)


@pytest.mark.parametrize(
    ("operator", "base", "value"),
    [
        ("like", "text", "a"),
        ("match", "text", "a"),
        ("lt", "text", "a"),
        ("eq", "jsonb", "{}"),
        ("eq", "numeric", "a"),
    ],
)
def test_condition_that_needs_postgres_raises_undecided(operator: str, base: str, value: str) -> None:
    with pytest.raises(Undecided):
        evaluate(condition(operator, "1", base=base), value)

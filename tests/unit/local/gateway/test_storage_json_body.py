"""JSON bodies: coercion and error messages."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.local.storage.body import Fields, InvalidJsonBody, parse_json
from smelt.local.storage.errors import StorageError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def _error_message(fields: Fields) -> str:
    with pytest.raises(StorageError) as error:
        fields.check()
    return error.value.message


@pytest.mark.parametrize(("value", "taken"), [(5, 5), ("5", 5), (5.0, 5), (True, 1), ("60", 60)])
def test_integer_field_is_coerced(value: object, taken: int) -> None:
    """Clients send numbers as strings."""
    fields = Fields({"limit": value})
    assert fields.integer("limit", 100, 1) == taken
    fields.check()


@pytest.mark.parametrize(
    ("value", "message"),
    [(0, "must be >= 1"), (None, "must be >= 1"), (1.5, "must be integer"), ("x", "must be integer")],
)
def test_integer_field_error_names_field_and_bound(value: object, message: str) -> None:
    """Null is coerced to zero."""
    fields = Fields({"limit": value})
    fields.integer("limit", 100, 1)
    assert _error_message(fields) == f"body/limit {message}"


def test_field_errors_are_reported_together_missing_ones_first() -> None:
    """The errors are in the order of the schema."""
    fields = Fields({"public": "maybe", "limit": 0})
    fields.text("name", required=True)
    fields.flag("public", default=False)
    fields.integer("limit", 1, 1)
    assert _error_message(fields) == (
        "body must have required property 'name', body/public must be boolean, body/limit must be >= 1"
    )


def test_string_list_field_accepts_a_single_string() -> None:
    """An empty list is an error."""
    assert Fields({"prefixes": "x"}).texts("prefixes") == ["x"]
    empty = Fields({"prefixes": []})
    empty.texts("prefixes")
    assert _error_message(empty) == "body/prefixes must NOT have fewer than 1 items"


def test_string_list_field_that_is_missing_is_one_error() -> None:
    """A missing field is not also reported as invalid."""
    fields = Fields({})
    fields.texts("paths")
    assert _error_message(fields) == "body must have required property 'paths'"


@pytest.mark.parametrize("value", [None, [], "x", 3])
def test_body_that_is_not_an_object_is_rejected(value: object) -> None:
    """The error comes before those of fields."""
    with pytest.raises(StorageError, match="body must be object"):
        Fields(value)


@given(JSON)
def test_body_of_any_json_value_is_coerced_or_rejected(value: Any) -> None:
    """No value causes an unexpected error."""
    fields = Fields({"a": value})
    text, number, flag = fields.text("a"), fields.integer("a", 1, 1), fields.flag("a", default=False)
    texts, limit = fields.texts("a"), fields.size_limit("a")
    assert isinstance(text, str)
    assert isinstance(number, int)
    assert isinstance(flag, bool)
    assert all(isinstance(item, str) for item in texts)
    assert limit is None or isinstance(limit, int)


@given(JSON)
def test_json_is_parsed_as_written(value: Any) -> None:
    """With and without escapes."""
    assert parse_json(json.dumps(value)) == parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize("text", ["NaN", "Infinity", "[-Infinity]", "{", "", "[" * 100_000, b"\xff", "9" * 5000])
def test_json_that_is_invalid_or_too_deep_is_rejected(text: str | bytes) -> None:
    """JSON that JavaScript rejects, or that is nested too deeply for Python, is an error."""
    with pytest.raises(InvalidJsonBody):
        parse_json(text)


def test_json_lone_surrogate_becomes_a_replacement_character() -> None:
    """A lone surrogate cannot be encoded; surrogate pairs stay."""
    assert parse_json(r'{"\ud800": ["\ud83c\udfa4", "a\udfa4"]}') == {"\ufffd": ["\U0001f3a4", "a\ufffd"]}


@pytest.mark.parametrize(("value", "taken"), [(None, ""), (True, "true"), (False, "false"), (5, "5"), ("x", "x")])
def test_text_field_is_coerced(value: object, taken: str) -> None:
    """Null is coerced to an empty string."""
    assert Fields({"prefix": value}).text("prefix") == taken


def test_choice_field_error_names_its_path() -> None:
    """The path includes the enclosing object."""
    sort = Fields({"sortBy": {"order": "up"}}).fields("sortBy")
    assert sort is not None
    sort.choice("column", "name", ("name",), required=True)
    sort.choice("order", "asc", ("asc", "desc"))
    assert _error_message(sort) == (
        "body/sortBy must have required property 'column', body/sortBy/order must be equal to one of the allowed values"
    )
    assert Fields({}).fields("sortBy") is None


@pytest.mark.parametrize(("value", "size"), [(None, None), (1000, 1000), ("2MB", 2_000_000), ("50", 50)])
def test_size_limit_field_accepts_bytes_and_units(value: object, size: int | None) -> None:
    """Null means unlimited."""
    fields = Fields({"file_size_limit": value})
    assert fields.size_limit("file_size_limit") == size
    fields.check()


def test_mime_types_field_is_a_list_or_none() -> None:
    """A single value is coerced to a list."""
    assert Fields({}).optional_texts("allowed_mime_types") is None
    assert Fields({"allowed_mime_types": "audio/*"}).optional_texts("allowed_mime_types") == ["audio/*"]

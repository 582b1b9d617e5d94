"""Replacement of text that JSON or Postgres cannot represent."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.backend.json_text import replace_unstorable

ANY_TEXT = st.text(st.characters(exclude_categories=()))
ANY_JSON = st.recursive(
    ANY_TEXT | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner)
)


@given(ANY_JSON)
def test_unrepresentable_text_is_replaced_in_any_json_value(value: object) -> None:
    written = json.dumps(list(_texts(replace_unstorable(value))), ensure_ascii=False)
    assert "\\u0000" not in written
    written.encode("utf-8")


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")))
def test_representable_text_is_unchanged(text: str) -> None:
    assert replace_unstorable({"a": [text, 1, None]}) == {"a": [text, 1, None]}


@pytest.mark.parametrize(
    ("text", "stored"), [("a\0b", "a\ufffdb"), ("\udce9.ogg", "\ufffd.ogg"), ("\ud83d\ude00\n", "\U0001f600\n")]
)
def test_unrepresentable_characters_become_replacement_characters(text: str, stored: str) -> None:
    assert replace_unstorable((text,)) == [stored]


def _texts(value: object) -> list[str]:
    match value:
        case str():
            return [value]
        case dict():
            return [text for item in value.values() for text in _texts(item)]
        case list():
            return [text for item in value for text in _texts(item)]
        case _:
            return []

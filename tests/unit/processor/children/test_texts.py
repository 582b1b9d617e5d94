"""Texts of any length arrive in messages of limited size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.processor.children.frames import MAX_MESSAGE_BYTES, frame
from smelt.processor.children.texts import Text, messages_of


@given(st.text(), st.integers(0, 70_000))
def test_text_of_any_length_arrives(text: str, repeats: int) -> None:
    sent = (text * repeats)[:200_000]
    received = Text()
    for message in messages_of(sent):
        assert not received.is_complete
        assert len(frame(message)) <= MAX_MESSAGE_BYTES
        received.add(dict(message))
    assert received.is_complete
    assert received.text == sent


def test_text_of_the_longest_characters_fits_into_messages() -> None:
    assert all(len(frame(message)) <= MAX_MESSAGE_BYTES for message in messages_of("\U0001f600" * 200_000))


@pytest.mark.parametrize("message", [{}, {"type": "end"}, {"type": "text", "part": 1, "is_last": True}])
def test_text_rejects_another_message(message: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a part of a text"):
        Text().add(message)

"""Texts of any length as messages of limited size. Pure."""

from collections.abc import Iterator
from typing import Any, Final

from smelt.processor.children.frames import Message

# JSON needs up to 12 bytes for a character.
_MAX_CHARACTERS: Final = 64 * 1024


def messages_of(text: str) -> Iterator[Message]:
    """Yield the messages for a text, in order."""
    for start in range(0, max(1, len(text)), _MAX_CHARACTERS):
        end = start + _MAX_CHARACTERS
        yield {"type": "text", "part": text[start:end], "is_last": end >= len(text)}


class Text:
    """A text that is received in messages."""

    def __init__(self) -> None:
        self.text = ""
        self.is_complete = False

    def add(self, message: dict[str, Any]) -> None:
        """Add a message; raise `ValueError` if it is not a part of a text."""
        match message:
            case {"type": "text", "part": str(part), "is_last": bool(is_last)}:
                self.text += part
                self.is_complete = is_last
            case _:
                raise ValueError(f"not a part of a text: {message.get('type')}")

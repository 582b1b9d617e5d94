"""Formats text as Markdown. Pure."""

import re
from collections.abc import Collection
from typing import Final

from smelt.processor.synthesis.sentences import CLOSED
from smelt.processor.synthesis.words import is_east_asian, is_unspaced

_PROPER: Final = frozenset(
    (
        *("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
        *("january", "february", "april", "june", "july", "august", "september", "october", "november", "december"),
        "i",
    )
)
_SPECIAL: Final = re.compile(r"([\\*_`\[<~]|&(?=#?\w+;)|(?<= )#+$)")
_LINE_START: Final = re.compile(r"^(\d*)([#>+=-]|(?<=\d)[.)])")
_WORD: Final = re.compile(r"[^\W\d_]+")
# Marks within a sentence, with which a turn may end.
_INNER: Final = ",;:\u2013\u2014-\u060c\u3001\uff0c "


def heading(level: int, text: str) -> str:
    """Return a heading with escaped text."""
    return f"{'#' * level} {inline(text)}"


def inline(text: str) -> str:
    """Escape text for Markdown, on one line."""
    flat = " ".join(text.split())
    return _LINE_START.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", flat))


def clock(seconds: float) -> str:
    """Format a position in a recording: `02:05`, from one hour on `1:02:05`."""
    minutes, second = divmod(int(seconds), 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour}:{minute:02}:{second:02}" if hour else f"{minute:02}:{second:02}"


def capitalized(text: str, names: Collection[str]) -> str:
    """Capitalize days, months, `I` and known names in a text that is all lower case."""
    if text != text.lower():
        return text
    return _WORD.sub(lambda m: m[0].capitalize() if m[0] in _PROPER or m[0] in names else m[0], text)


def as_sentence(text: str, names: Collection[str]) -> str:
    """Capitalize a sentence and close it with a mark, which replaces a comma at its end."""
    spelled = capitalized(text.strip(), names)
    if not CLOSED.search(spelled):
        spelled = spelled.rstrip(_INNER)
        spelled += _closing_mark(spelled)
    return inline(spelled[:1].upper() + spelled[1:])


def _closing_mark(text: str) -> str:
    return "。" if is_east_asian(text[-1:]) else "" if is_unspaced(text[-1:]) else "."

"""Writing systems: the width of letters, and text without spaces between words. Pure."""

import re
import unicodedata
from typing import Final

_UNSPACED: Final = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF)),  # Thai, Lao, Myanmar, Khmer.
    *((0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F)),  # Kana.
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),  # Han.
)
"""The scripts without spaces between words."""
_BOUND_TO_PREVIOUS: Final = frozenset("ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶะาำๅະາຳ")
_BOUND_TO_NEXT: Final = frozenset("เแโใไເແໂໃໄ")
_WORD: Final = re.compile(r"\w+")


def is_unspaced(letter: str) -> bool:
    """Return True if words of the script of a letter are written without spaces between them."""
    return letter >= "\u0e00" and any(first <= ord(letter) <= last for first, last in _UNSPACED)


def can_cut(before: str, after: str) -> bool:
    """Return True if a line may end between two letters of a script without spaces."""
    if not (is_unspaced(before) or is_unspaced(after)):
        return False
    kind_before, kind_after = unicodedata.category(before), unicodedata.category(after)
    is_bound = kind_after[0] == "M" or kind_after == "Lm" or after in _BOUND_TO_PREVIOUS or before in _BOUND_TO_NEXT
    is_closing = kind_after[0] == "P" and kind_after not in ("Ps", "Pi")
    return not (is_bound or is_closing or kind_before in ("Ps", "Pi"))


def word_count(text: str) -> int:
    """Return the number of words of a text; in scripts without spaces, each letter counts as one."""
    spaced = "".join(" " if is_unspaced(letter) else letter for letter in text)
    return len(_WORD.findall(spaced)) + sum(map(is_unspaced, text))


def text_width(text: str) -> int:
    """Return the number of columns of a text; East Asian wide characters have two."""
    return len(text) if text.isascii() else sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def has_words(text: str) -> bool:
    """Return True if a text has more than punctuation, spaces and control characters."""
    return any(
        unicodedata.category(letter)[0] not in "PZ" and unicodedata.category(letter) not in ("Cc", "Cf")
        for letter in text
    )

"""Letters of scripts with and without spaces between words. Pure."""

import re
from typing import Final

HAN: Final = "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
KATAKANA: Final = "\u30a0-\u30ff"
HIRAGANA: Final = "\u3041-\u309f"
# Thai and Lao, Myanmar, Khmer: a space ends a phrase.
_PHRASES: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"

_EAST_ASIAN: Final = re.compile(f"[{HAN}{KATAKANA}{HIRAGANA}\u3000-\u303f\uff01-\uff60]")
_UNSPACED: Final = re.compile(f"[{HAN}{KATAKANA}{HIRAGANA}{_PHRASES}]")


def is_unspaced(text: str) -> bool:
    """Return True if the text contains letters of a script without spaces between words."""
    return bool(_UNSPACED.search(text))


def is_east_asian(text: str) -> bool:
    """Return True if the text contains Chinese or Japanese characters, which need no space around them."""
    return bool(_EAST_ASIAN.search(text))


def length_in_words(text: str) -> int:
    """Return the number of words; in scripts without spaces, every letter counts."""
    return len(text.split()) + len(_UNSPACED.findall(text))

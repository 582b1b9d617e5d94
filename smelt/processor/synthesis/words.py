"""Words of a text, in scripts with and without spaces between them. Pure."""

import re
import unicodedata
from collections.abc import Iterator
from itertools import groupby
from typing import Final

_HAN: Final = "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KATAKANA: Final = "\u30a0-\u30ff"
_HIRAGANA: Final = "\u3041-\u309f"
# Thai and Lao, Myanmar, Khmer: a space ends a phrase.
_PHRASES: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"

_EAST_ASIAN: Final = re.compile(f"[{_HAN}{_KATAKANA}{_HIRAGANA}\u3000-\u303f\uff01-\uff60]")
_UNSPACED: Final = re.compile(f"[{_HAN}{_KATAKANA}{_HIRAGANA}{_PHRASES}]")
_BETWEEN_HIRAGANA: Final = re.compile(f"[{_HAN}]+|[{_KATAKANA}]+|[^{_HAN}{_KATAKANA}{_HIRAGANA}]+")
# Scripts after this letter write no vowels, or a syllable as one character: their words are shorter.
_LONG_WORDS: Final = "\u052f"
_ENGLISH_LETTERS, _OTHER_LETTERS, _MIN_LETTERS = 3, 4, 2


def is_english(language: str | None) -> bool:
    """Return True for English, or an unknown language."""
    return language in (None, "en")


def is_unspaced(text: str) -> bool:
    """Return True if the text contains letters of a script without spaces between words."""
    return bool(_UNSPACED.search(text))


def is_east_asian(text: str) -> bool:
    """Return True if the text contains Chinese or Japanese characters, which need no space around them."""
    return bool(_EAST_ASIAN.search(text))


def length_in_words(text: str) -> int:
    """Return the number of words; in scripts without spaces, every letter counts."""
    return len(text.split()) + len(_UNSPACED.findall(text))


def significant_words(text: str, language: str | None) -> list[str]:
    """Return the words in lower case that may indicate the subject; the shortest ones never do."""
    runs = ("".join(run) for is_word, run in groupby(text.lower(), key=_in_word) if is_word)
    min_letters = _ENGLISH_LETTERS if is_english(language) else _OTHER_LETTERS
    words = (word for run in runs for word in _parts(run))
    return [word for word in words if len(word) >= (_MIN_LETTERS if word > _LONG_WORDS else min_letters)]


def _in_word(letter: str) -> bool:
    # Combining marks are the vowels of many scripts.
    return letter.isalpha() or unicodedata.category(letter).startswith("M")


def _parts(run: str) -> Iterator[str]:
    # Most Chinese words have two characters. Japanese writes mostly grammar in Hiragana.
    for part in _BETWEEN_HIRAGANA.findall(run):
        if re.match(f"[{_HAN}]", part):
            yield from (part[n : n + 2] for n in range(len(part) - 1))
        else:
            yield part

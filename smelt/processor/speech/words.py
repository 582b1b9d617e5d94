"""The words of a text, to compare texts. Pure."""

import re
from typing import Final

from smelt.transcripts.writing import is_unspaced

_WORD: Final = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """Return the words without case and punctuation; in scripts without spaces, each letter is one."""
    spaced = "".join(f" {letter} " if is_unspaced(letter) else letter for letter in text.casefold())
    return _WORD.findall(spaced)

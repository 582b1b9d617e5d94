"""Finds names of people in lower-case English, by their position in a sentence. Pure."""

import re
from collections.abc import Iterable
from typing import Final

from smelt.processor.synthesis.phrasing import phrasings_of

_NAME: Final = r"([^\W\d]{2,})"
_PATTERNS: Final = (
    re.compile(
        rf"^(?:(?:yesterday|today|tomorrow) )?{_NAME} "
        r"(?:asked|told|said|reported|finished|decided|is waiting|is working|has a question|will|suggested) ",
    ),
    re.compile(rf"^[^\W\d]+ (?:asked|told|reminded) {_NAME} to "),
    re.compile(rf"^(?:good (?:morning|afternoon|evening)|thank you|thanks|hello|hi|welcome) {_NAME}\W*$"),
    re.compile(rf"\bagree with {_NAME}\W*$"),
)
_NOT_NAMES: Final = phrasings_of(("en",))[0].not_people | {"back", "very"}


def names_in(sentences: Iterable[str]) -> frozenset[str]:
    """Return the words in the position of a name; only from sentences without capitals, which would mark names."""
    return frozenset(
        match[1]
        for sentence in sentences
        if sentence == sentence.lower()
        for pattern in _PATTERNS
        if (match := pattern.search(sentence)) and match[1] not in _NOT_NAMES
    )

"""Names of people in what was heard in lower case, by where names stand in English. Pure."""

import re
from collections.abc import Iterable
from typing import Final

from smelt.processor.synthesis.action_items import NOBODY

_NAME: Final = r"([^\W\d]{2,})"
_PLACES: Final = (
    re.compile(
        rf"^(?:(?:yesterday|today|tomorrow) )?{_NAME} "
        r"(?:asked|told|said|reported|finished|decided|is waiting|is working|has a question|will|suggested) ",
    ),
    re.compile(rf"^[^\W\d]+ (?:asked|told|reminded) {_NAME} to "),
    re.compile(rf"^(?:good (?:morning|afternoon|evening)|thank you|thanks|hello|hi|welcome) {_NAME}\W*$"),
    re.compile(rf"\bagree with {_NAME}\W*$"),
)
_NO_NAMES: Final = NOBODY | {"we", "i", "everyone", "all", "again", "please", "back", "very", "so"}


def names_in(sentences: Iterable[str]) -> frozenset[str]:
    """The words that stand where a name does; only of sentences without any capital, where they can't be told by it."""
    return frozenset(
        match[1]
        for sentence in sentences
        if sentence == sentence.lower()
        for pattern in _PLACES
        if (match := pattern.search(sentence)) and match[1] not in _NO_NAMES
    )

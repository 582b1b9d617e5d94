"""Finds questions with their answers, and makes questions that the text answers. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from smelt.processor.synthesis.ranking import Ranking
from smelt.processor.synthesis.sentences import CLOSING, QUESTIONING
from smelt.processor.synthesis.words import is_english

_ENGLISH_QUESTION: Final = re.compile(
    r"^(?:who|what|when|where|why|how|which|can|could|would|should|do|does|did|is|are|was|were|will|have|has) .+",
    re.IGNORECASE,
)
_MAX_REPLY_DISTANCE: Final = 4
_MAX_TERMS: Final = 6


@dataclass(frozen=True)
class Pair:
    """A question, and the indexes of the sentences that answer it."""

    question: str
    replies: tuple[int, ...]


def question_pairs(texts: Sequence[str], ranking: Ranking) -> tuple[Pair, ...]:
    """Return the questions of the text in order, then one for each of its main words."""
    return (*_asked_pairs(texts, ranking), *_term_pairs(texts, ranking))


def is_question(text: str, language: str | None = "en") -> bool:
    """Return True if a sentence is a question; in English also if a model omitted the question mark."""
    asks = text.rstrip("\"'”\u2019)").endswith(tuple(QUESTIONING))
    return asks or (is_english(language) and bool(_ENGLISH_QUESTION.match(text)))


def _asked_pairs(texts: Sequence[str], ranking: Ranking) -> Iterator[Pair]:
    asks = [is_question(text, ranking.language) for text in texts]
    for index, text in enumerate(texts):
        if not asks[index]:
            continue
        following = [i for i in range(index + 1, min(len(texts), index + 1 + _MAX_REPLY_DISTANCE)) if not asks[i]]
        related = [i for i in following if ranking.similarity(index, i) > 0]
        stem = text.rstrip(f" {CLOSING}")
        mark = text[-1] if text.endswith(tuple(QUESTIONING)) else "?"
        yield Pair(f"{stem[:1].upper()}{stem[1:]}{mark}", tuple(related[:1]))


def _term_pairs(texts: Sequence[str], ranking: Ranking) -> Iterator[Pair]:
    used: set[tuple[int, ...]] = set()
    for term in ranking.terms(range(len(texts)), _MAX_TERMS):
        replies = tuple(i for i in ranking.with_term(term) if not is_question(texts[i], ranking.language))
        if replies and replies not in used:
            used.add(replies)
            yield Pair(f"What was said about “{term}”?", replies)

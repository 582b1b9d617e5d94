"""Questions that were asked, with what was said in answer, and questions that the text answers. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from smelt.processor.synthesis.ranking import Ranking
from smelt.processor.synthesis.sentences import CLOSING, QUESTIONING
from smelt.processor.synthesis.words import is_english

_ASKED: Final = re.compile(
    r"^(?:who|what|when|where|why|how|which|can|could|would|should|do|does|did|is|are|was|were|will|have|has) .+",
    re.IGNORECASE,
)
_ANSWER_REACH: Final = 4
_TERMS: Final = 6


@dataclass(frozen=True)
class Pair:
    """A question, and the sentences that answer it by their index."""

    question: str
    answers: tuple[int, ...]


def question_pairs(texts: Sequence[str], ranking: Ranking) -> tuple[Pair, ...]:
    """First what was asked, in order; then what the text says about its main words."""
    return (*_asked(texts, ranking), *_about(texts, ranking))


def is_question(text: str, language: str | None = "en") -> bool:
    """Whether a sentence asks; in English also one that a model has heard without its question mark."""
    asks = text.rstrip("\"'”\u2019)").endswith(tuple(QUESTIONING))
    return asks or (is_english(language) and bool(_ASKED.match(text)))


def _asked(texts: Sequence[str], ranking: Ranking) -> Iterator[Pair]:
    asks = [is_question(text, ranking.language) for text in texts]
    for index, text in enumerate(texts):
        if not asks[index]:
            continue
        following = [i for i in range(index + 1, min(len(texts), index + 1 + _ANSWER_REACH)) if not asks[i]]
        related = [i for i in following if ranking.similarity(index, i) > 0]
        stem = text.rstrip(f" {CLOSING}")
        mark = text[-1] if text.endswith(tuple(QUESTIONING)) else "?"
        yield Pair(f"{stem[:1].upper()}{stem[1:]}{mark}", tuple(related[:1]))


def _about(texts: Sequence[str], ranking: Ranking) -> Iterator[Pair]:
    used: set[tuple[int, ...]] = set()
    for term in ranking.terms(range(len(texts)), _TERMS):
        answers = tuple(i for i in ranking.with_term(term) if not is_question(texts[i], ranking.language))
        if answers and answers not in used:
            used.add(answers)
            yield Pair(f"What was said about “{term}”?", answers)

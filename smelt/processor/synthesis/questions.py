"""Questions that were asked, with what was said in answer, and questions that the text answers. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from smelt.processor.synthesis.ranking import Ranking
from smelt.processor.synthesis.sentences import CLOSING

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


def is_question(text: str) -> bool:
    """Whether a sentence asks; a model may have heard it without its question mark."""
    return text.rstrip("\"'”\u2019)").endswith(("?", "\uff1f")) or bool(_ASKED.match(text))


def _asked(texts: Sequence[str], ranking: Ranking) -> Iterator[Pair]:
    for index, text in enumerate(texts):
        if not is_question(text):
            continue
        following = [
            i for i in range(index + 1, min(len(texts), index + 1 + _ANSWER_REACH)) if not is_question(texts[i])
        ]
        related = [i for i in following if ranking.similarity(index, i) > 0]
        stem = text.rstrip(f" {CLOSING}")
        yield Pair(f"{stem[:1].upper()}{stem[1:]}?", tuple(related[:1]))


def _about(texts: Sequence[str], ranking: Ranking) -> Iterator[Pair]:
    used: set[tuple[int, ...]] = set()
    for term in ranking.terms(range(len(texts)), _TERMS):
        word = re.compile(rf"\b{re.escape(term)}\b", re.IGNORECASE)
        answers = tuple(i for i, text in enumerate(texts) if word.search(text) and not is_question(text))
        if answers and answers not in used:
            used.add(answers)
            yield Pair(f"What was said about “{term}”?", answers)

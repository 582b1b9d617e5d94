"""Cuts a text into topics, where its vocabulary changes. Pure."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from smelt.processor.synthesis.ranking import Ranking

_SENTENCES_PER_TOPIC: Final = 8
_MAX_TOPICS: Final = 20
_WINDOW: Final = 4
_MIN_TOPIC_SENTENCES: Final = 3
_TITLE_WORDS: Final = 3


@dataclass(frozen=True)
class Topic:
    """A run of sentences with its most distinctive words."""

    sentences: range
    title: str


def topics_of(ranking: Ranking, sentence_count: int) -> list[Topic]:
    """Return the topics of a text in order, at least one; together they contain every sentence."""
    topic_count = max(1, min(_MAX_TOPICS, sentence_count // _SENTENCES_PER_TOPIC))
    edges = [0, *_boundaries(ranking, sentence_count, topic_count - 1), sentence_count]
    blocks = [range(start, end) for start, end in pairwise(edges)]
    return [Topic(block, _title(ranking, block, number)) for number, block in enumerate(blocks, start=1)]


def _boundaries(ranking: Ranking, count: int, topic_count: int) -> list[int]:
    def similarity(edge: int) -> float:
        before, after = range(max(0, edge - _WINDOW), edge), range(edge, min(count, edge + _WINDOW))
        return round(ranking.block_similarity(before, after), 9)

    chosen: list[int] = []
    for edge in sorted(
        range(_MIN_TOPIC_SENTENCES, count - _MIN_TOPIC_SENTENCES + 1), key=lambda edge: (similarity(edge), edge)
    ):
        if len(chosen) == topic_count:
            break
        if all(abs(edge - other) >= _MIN_TOPIC_SENTENCES for other in chosen):
            chosen.append(edge)
    return sorted(chosen)


def _title(ranking: Ranking, block: range, number: int) -> str:
    words = ranking.terms(block, _TITLE_WORDS)
    return ", ".join(words) if words else f"part {number}"

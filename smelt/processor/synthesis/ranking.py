"""Ranks the sentences of a text: TF-IDF, and LexRank over it. Pure."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from smelt.processor.synthesis.subjects import significant_words
from smelt.processor.synthesis.words import length_in_words

_DAMPING: Final = 0.85
_MAX_ITERATIONS: Final = 50
_TOLERANCE: Final = 1e-9
_TOO_SIMILAR: Final = 0.6
# Shorter sentences are chosen last: `Chapter 27.`
_MIN_SENTENCE_WORDS: Final = 6

Vector = Mapping[str, float]
"""The weight of each word."""


class Ranking:
    """The ranking of the sentences of one text; deterministic.

    `scores` has the centrality of each sentence, `vectors` its words with TF-IDF weights, of length 1 or empty.
    """

    def __init__(self, texts: Sequence[str], languages: tuple[str, ...]) -> None:
        self._texts = texts
        counts = [Counter(significant_words(text, languages)) for text in texts]
        self.vectors = _weighted(counts)
        self.scores = _central(self.vectors)

    def best(self, count: int, candidates: Iterable[int] | None = None) -> list[int]:
        """Return the indexes of the `count` most central sentences that do not repeat each other, in order."""
        candidates = range(len(self._texts)) if candidates is None else candidates
        is_short = {i: length_in_words(self._texts[i]) < _MIN_SENTENCE_WORDS for i in candidates}
        chosen: list[int] = []
        for i in sorted(is_short, key=lambda i: (is_short[i], -self.scores[i], i)):
            if len(chosen) == count:
                break
            if not any(self.similarity(i, j) > _TOO_SIMILAR for j in chosen):
                chosen.append(i)
        return sorted(chosen)

    def similarity(self, first: int, second: int) -> float:
        """Return the cosine of two sentences, 0 to 1."""
        return _product(self.vectors[first], self.vectors[second])

    def block_similarity(self, first: range, second: range) -> float:
        """Return the cosine of two runs of sentences, 0 to 1."""
        one, two = (_sum(self.vectors[block.start : block.stop]) for block in (first, second))
        norm = math.sqrt(_product(one, one) * _product(two, two))
        return _product(one, two) / norm if norm else 0.0


def _weighted(counts: Sequence[Counter[str]]) -> list[Vector]:
    sentence_counts = Counter(word for count in counts for word in count)
    rarity = {word: 1 + math.log((1 + len(counts)) / (1 + n)) for word, n in sentence_counts.items()}
    vectors = [{word: (1 + math.log(n)) * rarity[word] for word, n in count.items()} for count in counts]
    norms = [math.sqrt(_product(vector, vector)) for vector in vectors]
    return [{word: weight / norm for word, weight in v.items()} for v, norm in zip(vectors, norms, strict=True)]


def _central(vectors: Sequence[Vector]) -> list[float]:
    """Return the stationary probabilities of a walk between sentences, by their similarity; 0 without words."""
    count = len(vectors)
    totals = _linked(vectors, [1.0] * count)
    scores = [1 / count] * count
    for _ in range(_MAX_ITERATIONS):
        shares = [score / total if total else 0.0 for score, total in zip(scores, totals, strict=True)]
        last, scores = scores, [(1 - _DAMPING) / count + _DAMPING * link for link in _linked(vectors, shares)]
        if max((abs(a - b) for a, b in zip(last, scores, strict=True)), default=0.0) < _TOLERANCE:
            break
    return [round(score, 12) if total else 0.0 for score, total in zip(scores, totals, strict=True)]


def _linked(vectors: Sequence[Vector], weights: Sequence[float]) -> list[float]:
    # The similarity matrix grows with the square of the count: compute only its products.
    words = _sum(vectors, weights)
    return [_product(vector, words) for vector in vectors]


def _sum(vectors: Sequence[Vector], weights: Sequence[float] | None = None) -> Vector:
    words: dict[str, float] = {}
    for vector, weight in zip(vectors, weights or [1.0] * len(vectors), strict=True):
        for word, value in vector.items():
            words[word] = words.get(word, 0.0) + value * weight
    return words


def _product(one: Vector, other: Vector) -> float:
    if len(one) > len(other):
        one, other = other, one
    return sum(value * other.get(word, 0.0) for word, value in one.items())

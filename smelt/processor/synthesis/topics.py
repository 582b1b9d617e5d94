"""Cuts a text into topics, where its vocabulary changes (TextTiling), and names them. Pure.

A topic lasts about as long as the others: lengths are in words, which measure the speech also where a text has no times
and a recording has pauses.
"""

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

from smelt.processor.synthesis.ranking import Ranking
from smelt.processor.synthesis.subjects import spelled_words
from smelt.processor.synthesis.words import length_in_words

_WORDS_PER_TOPIC: Final = 250
_MAX_TYPICAL_TOPICS: Final = 14
# Shares of the typical length; with the minimum, there are at most 20 topics.
_MIN_LENGTH, _MAX_LENGTH = 0.7, 2.0
_WINDOW: Final = 6
_TITLE_PHRASES, _MAX_PHRASE_WORDS = 3, 3
_MIN_COMMON_LETTERS: Final = 4
# Of phrases that never occur in lower case: names, and the nouns of German.
_NAME_WEIGHT: Final = 1.5


@dataclass(frozen=True)
class Topic:
    """A run of sentences, and phrases of the speakers that are frequent in it; maybe none."""

    sentences: range
    phrases: tuple[str, ...]


def topics_of(texts: Sequence[str], ranking: Ranking, languages: tuple[str, ...]) -> list[Topic]:
    """Return the topics of a text in order, at least one; together they contain every sentence."""
    ends = [0, *accumulate(length_in_words(text) for text in texts)]
    typical_count = max(1, min(_MAX_TYPICAL_TOPICS, ends[-1] // _WORDS_PER_TOPIC))
    edges = _boundaries(_depths(ranking, len(texts)), ends, max(1, ends[-1]) / typical_count)
    words = [spelled_words(text, languages) for text in texts]
    whole = Counter(word.lower() for sentence in words for word in sentence if word)
    return [Topic(range(a, b), _title(words[a:b], whole)) for a, b in pairwise(edges)]


def _depths(ranking: Ranking, count: int) -> list[float]:
    """Return for each edge between sentences how much less its sides have in common than those of edges nearby."""
    alike = [
        ranking.block_similarity(range(max(0, edge - _WINDOW), edge), range(edge, min(count, edge + _WINDOW)))
        for edge in range(count + 1)
    ]
    return [
        max(alike[max(0, edge - _WINDOW) : edge + 1]) + max(alike[edge : edge + _WINDOW + 1]) - 2 * alike[edge]
        for edge in range(count + 1)
    ]


def _boundaries(depths: Sequence[float], ends: Sequence[int], typical: float) -> list[int]:
    """Return the edges of topics, from 0 to the last: deep ones, at distances near the typical length in words."""
    best, previous = [0.0] * len(ends), [0] * len(ends)
    for edge in range(1, len(ends)):
        last = max(0, bisect_right(ends, ends[edge] - _MIN_LENGTH * typical) - 1)
        # A sentence may be longer than a topic.
        first = min(last, bisect_left(ends, ends[edge] - _MAX_LENGTH * typical))
        value, previous[edge] = max(
            (best[start] - ((ends[edge] - ends[start]) / typical - 1) ** 2, start) for start in range(first, last + 1)
        )
        best[edge] = value + depths[edge] if ends[edge] >= _MIN_LENGTH * typical else -math.inf
    edges = [len(ends) - 1]
    while edges[0] > 0:
        edges.insert(0, previous[edges[0]])
    return edges


def _title(sentences: Sequence[Sequence[str]], whole: Counter[str]) -> tuple[str, ...]:
    """Return the phrases of most weight: frequent here, and rare in the rest."""
    spellings = Counter(phrase for sentence in sentences for phrase in _phrases(sentence))
    counts = Counter[str]()
    for phrase, n in spellings.items():
        counts[phrase.lower()] += n
    here = sum(n for phrase, n in counts.items() if " " not in phrase)
    total = whole.total()

    def weight(phrase: str) -> float:
        words = phrase.split()
        rarity = sum(math.log(1 + total / whole[word]) for word in words)
        focus = sum(counts[word] / whole[word] for word in words) / len(words)
        name = _NAME_WEIGHT if phrase not in spellings else 1.0
        return counts[phrase] * rarity * (focus + here / max(1, total)) * name

    # A word that was spoken once is the subject of short texts only.
    min_count = min(2, max(counts.values(), default=0))
    chosen: list[str] = []
    for phrase in sorted(counts, key=lambda phrase: (-round(weight(phrase), 9), phrase)):
        if len(chosen) == _TITLE_PHRASES:
            break
        if counts[phrase] >= min_count and not any(_are_related(phrase, other) for other in chosen):
            chosen.append(phrase)
    return tuple(
        max((s for s in spellings if s.lower() == phrase), key=lambda s: (spellings[s], s)) for phrase in chosen
    )


def _phrases(words: Sequence[str]) -> Iterator[str]:
    for length in range(1, _MAX_PHRASE_WORDS + 1):
        # The blank between two words is an empty text.
        for start in range(len(words) - 2 * length + 2):
            phrase, blanks = words[start : start + 2 * length : 2], words[start + 1 : start + 2 * length - 1 : 2]
            if all(phrase) and not any(blanks):
                yield " ".join(phrase)


def _are_related(phrase: str, other: str) -> bool:
    """Return True if phrases share a word, or forms of one."""
    return any(_are_forms(one, two) for one in phrase.split() for two in other.split())


def _are_forms(one: str, other: str) -> bool:
    length = max(_MIN_COMMON_LETTERS, min(len(one), len(other)) - 2)
    return one == other or (len(one) >= length and one[:length] == other[:length])

"""Ranks the sentences and words of a text: TF-IDF of scikit-learn, and LexRank over it."""

from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from smelt.processor.synthesis.words import is_english, length_in_words, significant_words

_DAMPING: Final = 0.85
_ITERATIONS: Final = 50
_TOO_SIMILAR: Final = 0.6
_MIN_SENTENCE_WORDS: Final = 4

# Words of every meeting, and the subject of none.
_SMALL_TALK: Final = frozenset(
    (
        *("good", "morning", "hello", "thank", "thanks", "welcome", "okay", "yeah", "yes", "please", "agree", "really"),
        *("today", "tomorrow", "yesterday", "action", "item", "asked", "going", "just", "like", "know", "think"),
    )
)

Scores = NDArray[np.float64]


class Ranking:
    """The ranking of the sentences of one text; deterministic."""

    def __init__(self, texts: Sequence[str], language: str | None) -> None:
        self._texts = texts
        self.language = language
        self._vectorizer = TfidfVectorizer(
            tokenizer=partial(significant_words, language=language),
            token_pattern=None,
            sublinear_tf=True,
            stop_words="english" if is_english(language) else None,
        )
        try:
            self._vectors: Any = self._vectorizer.fit_transform(texts)
        except ValueError:  # No word remains: all are short, numbers or stop words.
            self._vectors = None
        self.scores = self._central()

    def best(self, count: int) -> list[int]:
        """Return the indexes of the `count` most central sentences that do not repeat each other, in order."""
        is_short = [length_in_words(text) < _MIN_SENTENCE_WORDS for text in self._texts]
        chosen: list[int] = []
        for i in sorted(range(len(self._texts)), key=lambda i: (is_short[i], -self.scores[i], i)):
            if len(chosen) == count:
                break
            if not any(self.similarity(i, j) > _TOO_SIMILAR for j in chosen):
                chosen.append(i)
        return sorted(chosen)

    def similarity(self, first: int, second: int) -> float:
        """Return the cosine of two sentences, 0 to 1."""
        if self._vectors is None:
            return 0.0
        return float(self._vectors[first].multiply(self._vectors[second]).sum())

    def block_similarity(self, first: range, second: range) -> float:
        """Return the cosine of two runs of sentences, 0 to 1."""
        if self._vectors is None:
            return 0.0
        one, two = (np.asarray(self._vectors[block.start : block.stop].sum(axis=0)) for block in (first, second))
        norm = float(np.linalg.norm(one) * np.linalg.norm(two))
        return float((one * two).sum()) / norm if norm else 0.0

    def terms(self, block: range, count: int) -> list[str]:
        """Return the most distinctive words of a run of sentences; equal ones in alphabetical order."""
        if self._vectors is None:
            return []
        weights = np.asarray(self._vectors[block.start : block.stop].sum(axis=0)).ravel()
        names = self._vectorizer.get_feature_names_out()
        order = sorted(np.flatnonzero(weights), key=lambda i: (-round(float(weights[i]), 9), names[i]))
        distinctive = (str(names[i]) for i in order if names[i] not in _SMALL_TALK)
        return list(islice(distinctive, count))

    def with_term(self, term: str) -> list[int]:
        """Return the indexes of the sentences that contain one of the `terms`, in order."""
        return [int(i) for i in np.flatnonzero(self._vectors[:, self._vectorizer.vocabulary_[term]].toarray().ravel())]

    def _central(self) -> Scores:
        count = len(self._texts)
        if self._vectors is None or not count:
            return np.zeros(count)

        # The similarity matrix grows with the square of the count: compute only its products.
        def linked(weights: Scores) -> Scores:
            return np.asarray(self._vectors @ (self._vectors.T @ weights))

        totals = linked(np.ones(count))
        jitter = np.divide(1.0, totals, out=np.zeros(count), where=totals > 0)
        scores = np.full(count, 1.0 / count)
        for _ in range(_ITERATIONS):
            scores = (1 - _DAMPING) / count + _DAMPING * linked(scores * jitter)
        return np.round(scores * (totals > 0), 12)

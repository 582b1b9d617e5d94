"""Compare a transcript with a reference: wrong and missing words, loops, and speech without text. Pure."""

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from transcribe_file import Segment

MAX_LOOP_WORDS = 8
LOOP_REPEATS = 4
# Shorter stretches without text are pauses between words.
MIN_UNCOVERED_S = 1.0
_STEPS_PER_SECOND = 100
_APOSTROPHES = "'\N{RIGHT SINGLE QUOTATION MARK}"


class Interval(NamedTuple):
    """A part of a recording, in seconds."""

    start: float
    end: float


class Alignment(NamedTuple):
    """The edit distance of two texts in words, and the most reference words in a row without a counterpart."""

    errors: int
    missing_run: int


def words_of(text: str) -> list[str]:
    """Return the words in lower case without punctuation and accents; digits stay as they are."""
    folded = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(c for c in folded if not unicodedata.combining(c) and c not in _APOSTROPHES)
    return re.findall(r"[^\W_]+", plain)


def align(reference: Sequence[str], found: Sequence[str]) -> Alignment:
    """Compute the Levenshtein distance in words and walk back along one cheapest path."""
    numbers = {word: number for number, word in enumerate({*reference, *found})}
    columns = np.array([numbers[word] for word in found], dtype=np.int32)
    offsets = np.arange(len(found) + 1, dtype=np.int32)
    costs = np.empty((len(reference) + 1, len(found) + 1), dtype=np.int32)
    costs[0] = offsets
    for row, word in enumerate(reference, 1):
        costs[row, 0] = row
        costs[row, 1:] = np.minimum(costs[row - 1, :-1] + (columns != numbers[word]), costs[row - 1, 1:] + 1)
        # An insertion costs 1 more than its left neighbor, so the cheapest is a running minimum.
        costs[row] = np.minimum.accumulate(costs[row] - offsets) + offsets
    return Alignment(int(costs[-1, -1]), _missing_run(costs, reference, found))


def _missing_run(costs: NDArray[np.int32], reference: Sequence[str], found: Sequence[str]) -> int:
    row, column = len(reference), len(found)
    max_run = run = 0
    while row:
        if column and costs[row, column] == costs[row - 1, column - 1] + (reference[row - 1] != found[column - 1]):
            row, column, run = row - 1, column - 1, 0
        elif costs[row, column] == costs[row - 1, column] + 1:
            row, run = row - 1, run + 1
        else:
            column -= 1
        max_run = max(max_run, run)
    return max_run


def without_loops(words: Sequence[str]) -> tuple[list[str], int]:
    """Return the words with each loop reduced to its first round, and the number of loops.

    A loop is 1 to 8 words that occur at least four times in a row.
    """
    kept: list[str] = []
    loops = at = 0
    while at < len(words):
        length, end = _loop_at(words, at)
        loops += end > at
        kept += words[at : at + length]
        at = max(end, at + 1)
    return kept, loops


def _loop_at(words: Sequence[str], at: int) -> tuple[int, int]:
    for length in range(1, MAX_LOOP_WORDS + 1):
        end = at + length
        while end + length <= len(words) and words[end : end + length] == words[at : at + length]:
            end += length
        if end - at >= length * LOOP_REPEATS:
            return length, end
    return 1, at


def uncovered_s(speech: Sequence[Interval], segments: Sequence[Segment]) -> float:
    """Return the seconds of speech in which no segment has text, in stretches of at least a second."""
    texts = [Interval(segment.start, segment.end) for segment in segments if words_of(segment.text)]
    duration_s = max((interval.end for interval in [*speech, *texts]), default=0.0)
    missing = _mask(speech, duration_s) & ~_mask(texts, duration_s)
    lengths = [run.end - run.start for run in _runs(missing)]
    return sum(length for length in lengths if length >= MIN_UNCOVERED_S)


def covered_pause_s(speech: Sequence[Interval], segments: Sequence[Segment]) -> float:
    """Return the longest pause between two clips of speech that lies within a segment."""
    pauses = [Interval(before.end, after.start) for before, after in pairwise(speech)]
    shared = (min(s.end, pause.end) - max(s.start, pause.start) for s in segments for pause in pauses)
    return max(0.0, max(shared, default=0.0))


def _mask(intervals: Sequence[Interval], duration_s: float) -> NDArray[np.bool_]:
    mask = np.zeros(round(duration_s * _STEPS_PER_SECOND), dtype=np.bool_)
    for interval in intervals:
        mask[round(interval.start * _STEPS_PER_SECOND) : round(interval.end * _STEPS_PER_SECOND)] = True
    return mask


def _runs(mask: NDArray[np.bool_]) -> list[Interval]:
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False]))))
    return [
        Interval(float(start), float(end))
        for start, end in zip(edges[::2] / _STEPS_PER_SECOND, edges[1::2] / _STEPS_PER_SECOND, strict=True)
    ]

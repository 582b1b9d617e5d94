"""Finds where the language of a window changes, from the languages of its slices. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

SLICE_S: Final = 10.0
"""The length of a slice in seconds; shorter speech is often taken for another language."""

_CERTAIN: Final = 0.8
_PROBABLE: Final = 0.5
_IMPROBABLE: Final = 0.05


@dataclass(frozen=True)
class Language:
    """A detected language: its code and probability."""

    code: str
    probability: float


def slice_starts(window_s: float) -> list[float]:
    """Return the starts of the slices of a window, in seconds; a rest of less than half a slice is not a slice."""
    count = max(1, int(window_s / SLICE_S + 0.5))
    return [n * SLICE_S for n in range(count)]


def spoken_language(probabilities: Mapping[str, float], main: str) -> str:
    """Return the most probable language, or the main language of the recording if the detection is uncertain."""
    code, probability = max(probabilities.items(), key=lambda item: item[1])
    is_other = probability >= _PROBABLE and probabilities.get(main, 0.0) < _IMPROBABLE
    return code if probability >= _CERTAIN or is_other else main


def first_change(languages: Sequence[str]) -> int | None:
    """Return the index of the first language that differs from the one before; None if all are the same."""
    return next((n for n in range(1, len(languages)) if languages[n] != languages[n - 1]), None)

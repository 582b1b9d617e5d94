"""The diarization error rate of turns against known ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

FRAMES_PER_S: Final = 100
COLLAR_S: Final = 0.25
"""Not scored before and after each change of a known turn, as is usual: people disagree by as much."""

KnownTurn = tuple[float, float, str]
"""Start and end in seconds, and the name of the speaker."""


@dataclass(frozen=True)
class DiarizationError:
    """Shares of the known speech: missed, wrongly found, and of the wrong speaker; their sum is the error rate."""

    missed: float
    false_alarm: float
    confused: float

    @property
    def rate(self) -> float:
        """The diarization error rate."""
        return self.missed + self.false_alarm + self.confused


def score(known: Sequence[KnownTurn], found: Sequence[KnownTurn], duration_s: float) -> DiarizationError:
    """Compare turns, with the assignment of speakers that fits best; turns at the same time count each."""
    frames = int(duration_s * FRAMES_PER_S) + 1
    scored = np.ones(frames, bool)
    for start, end, _ in known:
        for edge in (start, end):
            scored[max(0, int((edge - COLLAR_S) * FRAMES_PER_S)) : int((edge + COLLAR_S) * FRAMES_PER_S)] = False
    truth, guess = _active(known, frames)[:, scored], _active(found, frames)[:, scored]
    shared = truth.astype(int) @ guess.astype(int).T
    right = shared[linear_sum_assignment(-shared)].sum()
    spoken, claimed = truth.sum(axis=0), guess.sum(axis=0)
    total = max(1, int(spoken.sum()))
    return DiarizationError(
        float(np.maximum(0, spoken - claimed).sum() / total),
        float(np.maximum(0, claimed - spoken).sum() / total),
        float((np.minimum(spoken, claimed).sum() - right) / total),
    )


def _active(turns: Sequence[KnownTurn], frames: int) -> NDArray[np.bool_]:
    """Return for each speaker and frame if the speaker speaks."""
    speakers = sorted({speaker for _, _, speaker in turns})
    active = np.zeros((len(speakers), frames), bool)
    for start, end, speaker in turns:
        active[speakers.index(speaker), int(start * FRAMES_PER_S) : int(end * FRAMES_PER_S)] = True
    return active

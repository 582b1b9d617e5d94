"""How long the rest will take, from the measured speed of this model on this machine."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from smelt.processor.speech.checkpoint import Checkpoint
from smelt.processor.speech.transcriber import Passage

# What is known of a machine counts as this much audio against what is measured now.
_MEMORY_S: Final = 300.0
# The first window of a model, and the first look for speech, take what it takes to warm up on top: they tell
# something, and count little once there is better.
_COLD_WEIGHT: Final = 0.1
_ENOUGH_S: Final = 0.5
_SYNTHESIS_PRIOR_S: Final = 0.3


@dataclass
class Speed:
    """Seconds of work for a second of audio, as a sliding mean over the last minutes of audio."""

    audio_s: float = 0.0
    work_s: float = 0.0

    @property
    def factor(self) -> float | None:
        """None until enough was measured to tell."""
        return self.work_s / self.audio_s if self.audio_s >= _ENOUGH_S else None

    def measured(self, audio_s: float, work_s: float, weight: float = 1.0) -> None:
        """Note that `audio_s` of a recording took `work_s`."""
        keep = max(0.0, min(1.0, 1 - audio_s / _MEMORY_S))
        self.audio_s = self.audio_s * keep + audio_s * weight
        self.work_s = self.work_s * keep + work_s * weight


@dataclass
class Pace:
    """The speeds of a worker, shared by all of its smelts.

    Preparing (finding speech, computing features) comes in one piece for a whole span, hearing window by window; told
    apart, because an estimate that mixes them is far off at the beginning of each span.
    """

    preparing: Speed = field(default_factory=Speed)
    hearing: Speed = field(default_factory=Speed)
    synthesis_s: float = _SYNTHESIS_PRIOR_S
    is_warm: bool = False

    def prepared(self, audio_s: float, work_s: float) -> None:
        """Note that a span was made ready for the model."""
        self.preparing.measured(audio_s, work_s, self._weight)

    def heard(self, audio_s: float, work_s: float) -> None:
        """Note that the model has heard so much."""
        self.hearing.measured(audio_s, work_s, self._weight)

    def wrote(self, work_s: float) -> None:
        """Note how long an output took."""
        self.synthesis_s += (work_s - self.synthesis_s) / 2

    def eta_s(
        self, *, audio_left_s: float, prepared_s: float = 0.0, since_heard_s: float = 0.0, outputs_left: int = 1
    ) -> float | None:
        """Seconds until a smelt is done, of which `prepared_s` of audio is ready; None while the speed is unknown."""
        writing_s = self.synthesis_s * outputs_left
        if audio_left_s <= 0:
            return writing_s
        hearing, preparing = self.hearing.factor, self.preparing.factor
        if hearing is None or preparing is None:
            return None
        hearing_s = audio_left_s * hearing + max(0.0, audio_left_s - prepared_s) * preparing
        return max(0.0, hearing_s - since_heard_s) + writing_s

    @property
    def _weight(self) -> float:
        return 1.0 if self.is_warm else _COLD_WEIGHT


class Hearing:
    """One smelt at the model: measures its passages as they come, and knows how much of them is ready."""

    def __init__(self, pace: Pace, clock: Callable[[], float] = time.monotonic) -> None:
        self._pace = pace
        self._clock = clock
        self._heard_at_s = clock()
        self._window: Checkpoint | None = None
        self.prepared_left_s = 0.0

    @property
    def since_heard_s(self) -> float:
        """Seconds since the last passage, or since the model began."""
        return self._clock() - self._heard_at_s

    def begin(self) -> None:
        """The model begins now, with nothing prepared."""
        self._heard_at_s, self._window, self.prepared_left_s = self._clock(), None, 0.0

    def take(self, passage: Passage) -> None:
        """Measure a passage that came just now."""
        took_s = self.since_heard_s
        if passage.prepared_s:
            self._pace.prepared(passage.prepared_s, took_s)
        elif passage.heard_s:
            self._pace.is_warm |= self._window not in (None, passage.checkpoint)
            self._window = passage.checkpoint
            self._pace.heard(passage.heard_s, took_s)
        self._heard_at_s = self._clock()
        self.prepared_left_s = passage.prepared_s or max(0.0, self.prepared_left_s - passage.heard_s)

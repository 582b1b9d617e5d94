"""How long the rest will take, from the measured speed of this model on this machine."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from smelt.processor.speech.checkpoint import Checkpoint
from smelt.processor.speech.transcriber import Passage

# What is known of a machine counts as much as so much of what is measured now.
_MEMORY_S: Final = 300.0
# The first window of a model, and the first look for speech, take what it takes to warm up on top: they tell
# something, and count little once there is better.
_COLD_WEIGHT: Final = 0.1
_ENOUGH_S: Final = 0.5


@dataclass
class SpeedRate:
    """Seconds of one thing for a second of another, as a sliding mean over the last minutes of the other."""

    base_s: float = 0.0
    found_s: float = 0.0

    @property
    def factor(self) -> float | None:
        """None until enough was measured to tell."""
        return self.found_s / self.base_s if self.base_s >= _ENOUGH_S else None

    def measured(self, base_s: float, found_s: float, weight: float = 1.0) -> None:
        """Note that to `base_s` of the one belong `found_s` of the other."""
        keep = max(0.0, min(1.0, 1 - base_s / _MEMORY_S))
        self.base_s = self.base_s * keep + base_s * weight
        self.found_s = self.found_s * keep + found_s * weight


@dataclass
class SpeedEstimate:
    """The speeds of a worker, shared by all of its smelts.

    Preparing (finding speech, computing features) takes its time for a second of audio, and comes in one piece for a
    whole span. Hearing takes its time for a second of speech, and comes window by window. Told apart, because an
    estimate that mixes them is far off at the beginning of each span, and wherever people pause more or less.
    """

    preparing: SpeedRate = field(default_factory=SpeedRate)
    speech: SpeedRate = field(default_factory=SpeedRate)
    hearing: SpeedRate = field(default_factory=SpeedRate)
    output_s: float | None = None
    is_warm: bool = False

    def prepared(self, audio_s: float, speech_s: float, work_s: float) -> None:
        """Note that a span was made ready for the model, and how much of it is speech."""
        self.preparing.measured(audio_s, work_s, self._weight)
        self.speech.measured(audio_s, speech_s)

    def heard(self, speech_s: float, work_s: float) -> None:
        """Note that the model has heard so much speech."""
        self.hearing.measured(speech_s, work_s, self._weight)

    def wrote(self, outputs: int, work_s: float) -> None:
        """Note how long it took to write so many outputs."""
        took_s = work_s / outputs
        self.output_s = took_s if self.output_s is None else (self.output_s + took_s) / 2

    def hearing_s(self, *, audio_s: float, speech_s: float = 0.0) -> float | None:
        """Seconds to hear `speech_s` that is ready and `audio_s` that is not; None while the speed is unknown."""
        preparing, speech, hearing = self.preparing.factor, self.speech.factor, self.hearing.factor
        if preparing is None or speech is None or hearing is None:
            return None
        return audio_s * (preparing + speech * hearing) + speech_s * hearing

    @property
    def _weight(self) -> float:
        return 1.0 if self.is_warm else _COLD_WEIGHT


class TranscriptionTimer:
    """A recording at the model, from `start_s` on: measures its passages as they come, and knows what is left of it."""

    def __init__(
        self, pace: SpeedEstimate, duration_s: float, start_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._pace = pace
        self._clock = clock
        self._audio_left_s = duration_s - start_s
        self._speech_left_s = 0.0
        self._window: Checkpoint | None = None
        self._told_at_s = clock()

    @property
    def left_s(self) -> float | None:
        """Seconds until all of it is heard; None while the speed is unknown."""
        left_s = self._pace.hearing_s(audio_s=self._audio_left_s, speech_s=self._speech_left_s)
        return None if left_s is None else max(0.0, left_s - self._since_told_s)

    def take(self, passage: Passage) -> None:
        """Measure a passage that came just now."""
        if passage.prepared_s:
            self._pace.prepared(passage.prepared_s, passage.speech_left_s, self._since_told_s)
            self._audio_left_s = max(0.0, self._audio_left_s - passage.prepared_s)
        else:
            if passage.segments:
                self._pace.is_warm |= self._window not in (None, passage.checkpoint)
                self._window = passage.checkpoint
            self._pace.heard(max(0.0, self._speech_left_s - passage.speech_left_s), self._since_told_s)
        self._speech_left_s = passage.speech_left_s
        self._told_at_s = self._clock()

    @property
    def _since_told_s(self) -> float:
        return self._clock() - self._told_at_s

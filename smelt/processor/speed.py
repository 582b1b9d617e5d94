"""Estimates the remaining time from the measured speed of this model on this machine."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from smelt.processor.speech.checkpoint import Checkpoint
from smelt.processor.speech.values import Passage

# Weight of past measurements, in seconds of audio.
_PAST_WEIGHT_S: Final = 300.0
# The first window and the first speech detection include warming up, so they count little.
_COLD_WEIGHT: Final = 0.1
_MIN_MEASURED_S: Final = 0.5
_MIN_STEP_LIMIT_S: Final = 600.0
_MAX_UNMEASURED_STEP_S: Final = 3600.0
_STEP_TOLERANCE: Final = 20.0


@dataclass
class SpeedRate:
    """A ratio of seconds to base seconds, as a sliding mean over the last minutes of the base."""

    base_s: float = 0.0
    value_s: float = 0.0

    @property
    def factor(self) -> float | None:
        """The ratio; None until enough is measured."""
        return self.value_s / self.base_s if self.base_s >= _MIN_MEASURED_S else None

    def add(self, base_s: float, value_s: float, weight: float = 1.0) -> None:
        """Add a measurement: `value_s` for `base_s`."""
        keep = max(0.0, min(1.0, 1 - base_s / _PAST_WEIGHT_S))
        self.base_s = self.base_s * keep + base_s * weight
        self.value_s = self.value_s * keep + value_s * weight


@dataclass
class SpeedEstimate:
    """The speeds of a worker, shared by all of its smelts.

    Preparation (detecting speech, computing features) takes time per second of audio, at once for a whole span.
    Inference takes time per second of speech, window by window. A single combined speed would be far off at the start
    of each span, and for recordings with more or fewer pauses.
    """

    preparation: SpeedRate = field(default_factory=SpeedRate)
    speech: SpeedRate = field(default_factory=SpeedRate)
    inference: SpeedRate = field(default_factory=SpeedRate)
    output_s: float | None = None
    is_warm: bool = False

    def add_preparation(self, audio_s: float, speech_s: float, work_s: float) -> None:
        """Add the preparation of a span, and how much of it is speech."""
        self.preparation.add(audio_s, work_s, self._weight)
        self.speech.add(audio_s, speech_s)

    def add_inference(self, speech_s: float, work_s: float) -> None:
        """Add the transcription of some speech."""
        self.inference.add(speech_s, work_s, self._weight)

    def add_outputs(self, outputs: int, work_s: float) -> None:
        """Add the synthesis of some outputs."""
        took_s = work_s / outputs
        self.output_s = took_s if self.output_s is None else (self.output_s + took_s) / 2

    def transcription_s(self, *, audio_s: float, speech_s: float = 0.0) -> float | None:
        """Return the seconds for `speech_s` of prepared and `audio_s` of unprepared audio; None while unknown."""
        preparation, speech, inference = self.preparation.factor, self.speech.factor, self.inference.factor
        if preparation is None or speech is None or inference is None:
            return None
        return audio_s * (preparation + speech * inference) + speech_s * inference

    def max_step_s(self, *, span_s: float, window_s: float) -> float:
        """Return after how many seconds without a passage the model hangs.

        That is far more than preparing a span or transcribing a window of these lengths takes: the machine may be busy,
        and a difficult window is transcribed several times. While the speed is unknown, the device may be slow.
        """
        preparation, inference = self.preparation.factor, self.inference.factor
        if preparation is None or inference is None:
            return _MAX_UNMEASURED_STEP_S
        return max(_MIN_STEP_LIMIT_S, _STEP_TOLERANCE * max(span_s * preparation, window_s * inference))

    @property
    def _weight(self) -> float:
        return 1.0 if self.is_warm else _COLD_WEIGHT


class TranscriptionTimer:
    """Measures the passages of one recording, transcribed from `start_s`, and estimates its remaining time."""

    def __init__(
        self, speed: SpeedEstimate, duration_s: float, start_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._speed = speed
        self._clock = clock
        self._remaining_audio_s = duration_s - start_s
        self._remaining_speech_s = 0.0
        self._window: Checkpoint | None = None
        self._step = (0.0, 0.0)
        """Seconds of speech and of work since the last checkpoint."""
        self._last_passage_at_s = clock()

    @property
    def remaining_s(self) -> float | None:
        """Seconds until the recording is transcribed; None while the speed is unknown."""
        remaining_s = self._speed.transcription_s(audio_s=self._remaining_audio_s, speech_s=self._remaining_speech_s)
        return None if remaining_s is None else max(0.0, remaining_s - self._since_last_passage_s)

    def add_passage(self, passage: Passage) -> None:
        """Measure a passage that was just transcribed."""
        if passage.prepared_s:
            self._speed.add_preparation(passage.prepared_s, passage.remaining_speech_s, self._since_last_passage_s)
            self._remaining_audio_s = max(0.0, self._remaining_audio_s - passage.prepared_s)
        else:
            speech_s, work_s = self._step
            speech_s += max(0.0, self._remaining_speech_s - passage.remaining_speech_s)
            self._step = speech_s, work_s + self._since_last_passage_s
            if passage.segments:
                self._speed.is_warm |= self._window not in (None, passage.checkpoint)
                self._window = passage.checkpoint
            else:
                # All work of a step comes before its first segment: measured one by one, that would count least.
                self._speed.add_inference(*self._step)
                self._step = 0.0, 0.0
        self._remaining_speech_s = passage.remaining_speech_s
        self._last_passage_at_s = self._clock()

    @property
    def _since_last_passage_s(self) -> float:
        return self._clock() - self._last_passage_at_s

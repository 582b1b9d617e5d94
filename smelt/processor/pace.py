"""How long the rest will take, from the measured speed of this model on this machine."""

from dataclasses import dataclass, field
from typing import Final

# What is known of a machine counts as this much audio against what is measured now.
_MEMORY_S: Final = 300.0
_ENOUGH_S: Final = 3.0
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

    def measured(self, audio_s: float, work_s: float) -> None:
        """Note that `audio_s` of a recording took `work_s`."""
        keep = max(0.0, min(1.0, 1 - audio_s / _MEMORY_S))
        self.audio_s = self.audio_s * keep + audio_s
        self.work_s = self.work_s * keep + work_s


@dataclass
class Pace:
    """The speeds of a worker, shared by all of its smelts.

    Preparing (finding speech, computing features) comes in one piece for a whole span, hearing window by window; told
    apart, because an estimate that mixes them is far off at the beginning of each span.
    """

    preparing: Speed = field(default_factory=Speed)
    hearing: Speed = field(default_factory=Speed)
    synthesis_s: float = _SYNTHESIS_PRIOR_S

    def prepared(self, audio_s: float, work_s: float) -> None:
        """Note that a span was made ready for the model."""
        self.preparing.measured(audio_s, work_s)

    def heard(self, audio_s: float, work_s: float) -> None:
        """Note that the model has heard so much."""
        self.hearing.measured(audio_s, work_s)

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

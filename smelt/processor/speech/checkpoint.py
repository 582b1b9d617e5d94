"""The checkpoint at which a transcription resumes, and the findings before it."""

from collections.abc import Sequence
from typing import Any, Final, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from smelt.contract.events import Model
from smelt.processor.media.values import SAMPLE_RATE

# Beyond this number, places are counted in seconds only.
_MAX_PLACES: Final = 100


class Findings(Model):
    """Facts about the reliability of the text before a checkpoint; times in seconds of the recording."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    silence_s: float = 0.0
    untranscribed_s: float = 0.0
    untranscribed: tuple[tuple[float, float], ...] = ()
    retried: tuple[tuple[float, float], ...] = ()
    languages: dict[str, float] = Field(default_factory=dict)
    """Seconds of text in each language."""

    def with_silence(self, silence_s: float) -> "Findings":
        """Return the findings with more seconds of silence."""
        return self.model_copy(update={"silence_s": self.silence_s + silence_s})

    def with_channels(self, channels: "Sequence[Findings]", silence_s: float) -> "Findings":
        """Return the findings with those of a span of each channel, and the seconds in which all are silent."""
        languages = {code for channel in (self, *channels) for code in channel.languages}
        return Findings(
            silence_s=self.silence_s + silence_s,
            untranscribed_s=round(self.untranscribed_s + sum(channel.untranscribed_s for channel in channels), 2),
            untranscribed=(*self.untranscribed, *sorted(s for c in channels for s in c.untranscribed))[:_MAX_PLACES],
            retried=(*self.retried, *sorted(s for c in channels for s in c.retried))[:_MAX_PLACES],
            languages={
                code: round(sum(channel.languages.get(code, 0.0) for channel in (self, *channels)), 2)
                for code in sorted(languages)
            },
        )

    def with_window(
        self,
        language: str,
        text_s: float,
        untranscribed: tuple[tuple[float, float], ...],
        retried: tuple[tuple[float, float], ...],
    ) -> "Findings":
        """Return the findings with those of one more window."""
        return self.model_copy(
            update={
                "untranscribed_s": round(self.untranscribed_s + sum(end - start for start, end in untranscribed), 2),
                "untranscribed": (self.untranscribed + untranscribed)[:_MAX_PLACES],
                "retried": (self.retried + retried)[:_MAX_PLACES],
                "languages": self.languages | {language: round(self.languages.get(language, 0.0) + text_s, 2)},
            }
        )


class Checkpoint(Model):
    """The start of a window: the text before it is saved, the window and the rest are transcribed again.

    A run that resumes here finds the same speech in the same span and seeks to the same window, so its text equals that
    of an undisturbed run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[2] = 2
    span_start: int
    """The sample at which the span of the window starts."""
    mode_key: str = ""
    """The mode of transcription, with the options of the smelt; in another mode, a span starts at `position`."""
    seek: int = 0
    """The position of the window in the speech of the span, in samples."""
    position: int = 0
    """The sample of the recording at which the window starts."""
    segment_count: int = 0
    """The number of segments before this window."""
    findings: Findings = Findings()

    def for_mode(self, mode_key: str) -> "Checkpoint":
        """Return this checkpoint if the mode is the same, else one whose span starts at its window."""
        if mode_key == self.mode_key:
            return self
        start = max(self.span_start, self.position)
        return self.model_copy(update={"span_start": start, "position": start, "seek": 0, "mode_key": mode_key})

    def limited_to(self, segment_count: int) -> "Checkpoint":
        """Return this checkpoint with its count limited to `segment_count`."""
        return self.model_copy(update={"segment_count": min(self.segment_count, segment_count)})


START = Checkpoint(span_start=0)


class ServiceCheckpoint(Model):
    """The checkpoint of an external service: the end of its last segment in seconds, and the number of segments."""

    transcribed_s: float
    segment_count: int

    @property
    def as_window(self) -> Checkpoint:
        """The window that starts there."""
        position = int(self.transcribed_s * SAMPLE_RATE)
        return Checkpoint(span_start=position, position=position, segment_count=self.segment_count)


_SAVED: Final[TypeAdapter[Checkpoint | ServiceCheckpoint]] = TypeAdapter(Checkpoint | ServiceCheckpoint)


def read_checkpoint(saved: dict[str, Any] | None) -> Checkpoint:
    """Parse a saved checkpoint; return `START` for None or the format of another version."""
    try:
        found = START if saved is None else _SAVED.validate_python(saved)
    except ValidationError:
        return START
    return found if isinstance(found, Checkpoint) else found.as_window

"""The checkpoint at which a transcription resumes."""

from typing import Any, Literal

from pydantic import ConfigDict, ValidationError

from smelt.contract.events import Model


class Checkpoint(Model):
    """The start of a window: the text before it is saved, the window and the rest are transcribed again.

    A run that resumes here computes the same features over the same span and seeks to the same window, so its text
    equals that of an undisturbed run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    span_start: int
    """The sample at which the span of the window starts."""
    mode_key: str = ""
    """The mode of transcription; a worker in another mode starts the span again."""
    seek: int = 0
    """The position in the span: a feature frame of its speech, or in batched mode the number of a clip."""
    replay_from_seek: int | None = None
    """With word times: the previous window, to transcribe again because its last word is an input of the next one."""
    segment_count: int = 0
    """The number of segments before this window."""
    span_segments: int = 0
    """The number of segments before the span."""
    silence_s: float = 0.0
    """Seconds of silence in the finished spans."""

    def for_mode(self, mode_key: str) -> "Checkpoint":
        """Return this checkpoint if the mode is the same, else one at the start of its span."""
        if mode_key == self.mode_key:
            return self
        return Checkpoint(
            span_start=self.span_start,
            mode_key=mode_key,
            segment_count=self.span_segments,
            span_segments=self.span_segments,
            silence_s=self.silence_s,
        )

    def limited_to(self, segment_count: int) -> "Checkpoint":
        """Return this checkpoint with its counts limited to `segment_count`."""
        if self.segment_count <= segment_count:
            return self
        spans = min(self.span_segments, segment_count)
        return self.model_copy(update={"segment_count": segment_count, "span_segments": spans})


START = Checkpoint(span_start=0)


def read_checkpoint(saved: dict[str, Any] | None) -> Checkpoint:
    """Parse a saved checkpoint; return `START` for None or the format of another version."""
    try:
        return START if saved is None else Checkpoint.model_validate(saved)
    except ValidationError:
        return START

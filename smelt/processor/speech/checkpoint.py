"""Where a transcription can be taken up again."""

from typing import Any, Literal

from pydantic import ConfigDict, ValidationError

from smelt.contract.events import Model


class Checkpoint(Model):
    """The start of a window of the model: everything before it is saved, everything from it on is done again.

    A run that starts here computes the same features over the same span and seeks to the same window, so that it hears
    the same text as a run that was never stopped.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    span_start: int
    """Sample at which the span of the window begins."""
    way: str = ""
    """How the span is listened to; a worker that listens in another way begins the span again."""
    seek: int = 0
    """Where in the span: a feature frame of its speech, or in batched mode the number of a clip."""
    replay_from_seek: int | None = None
    """With word times: the window before, which has to be heard again because its last word is an input of the next."""
    segment_count: int = 0
    """How many segments come before this window."""
    span_segments: int = 0
    """How many of them come before the span."""
    silence_s: float = 0.0
    """How much of the finished spans was left out as silence."""

    def for_mode(self, way: str) -> "Checkpoint":
        """The same place for a worker that listens in this way: exactly here, or at the start of the span."""
        if way == self.way:
            return self
        return Checkpoint(
            span_start=self.span_start,
            way=way,
            segment_count=self.span_segments,
            span_segments=self.span_segments,
            silence_s=self.silence_s,
        )

    def limited_to(self, segment_count: int) -> "Checkpoint":
        """The same place in a transcript that has no more segments than these."""
        if self.segment_count <= segment_count:
            return self
        spans = min(self.span_segments, segment_count)
        return self.model_copy(update={"segment_count": segment_count, "span_segments": spans})


START = Checkpoint(span_start=0)


def read_checkpoint(saved: dict[str, Any] | None) -> Checkpoint:
    """A saved checkpoint; the start of the recording when there is none, or one of another version of smelt."""
    try:
        return START if saved is None else Checkpoint.model_validate(saved)
    except ValidationError:
        return START

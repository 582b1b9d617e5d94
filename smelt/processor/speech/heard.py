"""What one run of the model hands out, in the time of its span."""

from dataclasses import dataclass
from typing import Any

from faster_whisper.transcribe import Segment


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A segment in seconds from the start of its span; `seek` names the window of the model that it came from."""

    seek: int
    start: float
    end: float
    text: str
    avg_logprob: float
    no_speech_prob: float
    compression_ratio: float
    words: list[dict[str, Any]] | None


def heard_from(segment: Segment, *, seek: int, start: float, end: float, words: list[dict[str, Any]] | None) -> Heard:
    """A segment of faster-whisper with its times put right."""
    return Heard(
        seek=seek,
        start=round(start, 2),
        end=round(max(start, end), 2),
        text=segment.text.strip(),
        avg_logprob=float(segment.avg_logprob),
        no_speech_prob=float(segment.no_speech_prob),
        compression_ratio=float(segment.compression_ratio),
        words=words,
    )


def word_as_dict(text: str, start: float, end: float, probability: float) -> dict[str, Any]:
    """A word as it is stored with its segment."""
    return {"word": text, "start": round(start, 2), "end": round(end, 2), "probability": round(float(probability), 3)}

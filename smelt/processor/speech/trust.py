"""The trust report of a transcript: silence, doubtful and repeated segments. Pure."""

from collections.abc import Sequence
from typing import Any, Final

from smelt.contract.work import SavedSegment
from smelt.processor.speech.checkpoint import Checkpoint

# The thresholds at which Whisper itself considers a window doubtful.
_LOW_LOGPROB: Final = -1.0
_HIGH_COMPRESSION: Final = 2.4
_REPEATS: Final = 3


def trust_report(segments: Sequence[SavedSegment], end: Checkpoint) -> dict[str, Any]:
    """Return the seconds of silence, and the indexes of segments with low confidence or repetition."""
    return {
        "silence_seconds": round(end.silence_s, 2),
        "low_confidence_segments": [s.index for s in segments if (s.avg_logprob or 0.0) < _LOW_LOGPROB],
        "repeated_segments": repeated(segments),
    }


def repeated(segments: Sequence[SavedSegment]) -> list[int]:
    """Return the indexes of segments that repeat themselves, or repeat their neighbor at least three times in a row."""
    found = {s.index for s in segments if (s.compression_ratio or 0.0) > _HIGH_COMPRESSION}
    run: list[SavedSegment] = []
    for segment in segments:
        if run and segment.text.casefold() != run[-1].text.casefold():
            run = []
        run.append(segment)
        if len(run) >= _REPEATS:
            found.update(s.index for s in run)
    return sorted(found)

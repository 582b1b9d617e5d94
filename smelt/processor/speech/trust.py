"""The trust report of a transcript: silence, missing, doubtful and repeated text, and languages. Pure."""

from collections.abc import Sequence
from typing import Any, Final

from smelt.contract.work import SavedSegment
from smelt.processor.speech.checkpoint import Findings

# The thresholds at which Whisper itself considers a window doubtful.
_LOW_LOGPROB: Final = -1.0
_HIGH_COMPRESSION: Final = 2.4
_REPEATS: Final = 3


def trust_report(segments: Sequence[SavedSegment], findings: Findings) -> dict[str, Any]:
    """Return what is known about a transcript, with the keys of `Trust`."""
    return {
        "silence_seconds": round(findings.silence_s, 2),
        "low_confidence_segments": [s.index for s in segments if (s.avg_logprob or 0.0) < _LOW_LOGPROB],
        "repeated_segments": repeated(segments),
        "untranscribed_seconds": findings.untranscribed_s,
        "untranscribed": [list(stretch) for stretch in findings.untranscribed],
        "retried": [list(stretch) for stretch in findings.retried],
        "languages": language_shares(findings),
    }


def language_shares(findings: Findings) -> list[dict[str, Any]]:
    """Return the languages of the text, the one with most seconds first."""
    total_s = sum(findings.languages.values())
    return [
        {"language": code, "seconds": seconds, "share": round(seconds / total_s, 3)}
        for code, seconds in sorted(findings.languages.items(), key=lambda item: (-item[1], item[0]))
        if seconds
    ]


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

"""Transcribe one file outside of a worker, as a worker would; the only part of `words.py` that calls smelt's engine."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from smelt.contract.work import SavedSegment
from smelt.processor.errors import FileError
from smelt.processor.media.decode import decode_to_pcm
from smelt.processor.media.probe import probe
from smelt.processor.media.recording import Recording
from smelt.processor.media.values import MediaLimits
from smelt.processor.speech.checkpoint import START
from smelt.processor.speech.transcriber import Transcriber
from smelt.processor.speech.trust import trust_report

LIMITS = MediaLimits(max_file_bytes=10**9, max_duration_s=36_000)


class Segment(NamedTuple):
    """A segment of any transcript, in seconds of its recording."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Transcription:
    """The transcript of a file; if the file was rejected, `error_code` is set and `recording` is None."""

    segments: tuple[Segment, ...] = ()
    recording: Recording | None = None
    trust: dict[str, Any] = field(default_factory=dict)
    languages: tuple[str, ...] = ()
    error_code: str | None = None
    cpu_s: float


def transcribe_file(source: Path, target: Path, transcriber: Transcriber) -> Transcription:
    """Decode `source` to `target` and transcribe it."""
    started_s = time.process_time()
    try:
        recording = decode_to_pcm(source, target, probe(source, LIMITS), LIMITS, lambda _: True)
    except FileError as exc:
        return Transcription(error_code=exc.code, cpu_s=time.process_time() - started_s)
    language = transcriber.detect_language(recording).code
    saved: list[SavedSegment] = []
    end = START
    for passage in transcriber.transcribe(recording, language):
        saved += passage.segments
        end = passage.checkpoint
    cpu_s = time.process_time() - started_s
    trust = trust_report(saved, end.findings)
    languages = tuple(found["language"] for found in trust.get("languages", ())) or (language,)
    return Transcription(
        segments=segments_of(saved), recording=recording, trust=trust, languages=languages, cpu_s=cpu_s
    )


def segments_of(found: Iterable[Any]) -> tuple[Segment, ...]:
    """Return the segments of smelt or of faster-whisper without their other fields."""
    return tuple(Segment(round(s.start, 2), round(s.end, 2), s.text.strip()) for s in found)

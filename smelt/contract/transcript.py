"""Transcript formats: text, captions and JSON, made from segments."""

import html
import json
import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, assert_never

from smelt.contract.caption_tokens import marks_of
from smelt.contract.captions import CaptionLayout, Cue, caption_cues
from smelt.contract.state import FileSegment, FileState

_FILE_FIELDS: Final = {"filename", "language", "language_probability", "duration_seconds", "trust"}
_SEGMENT_FIELDS: Final = {"index", "start", "end", "text", "words"}


class TranscriptFormat(StrEnum):
    """The formats of a transcript."""

    TXT = "txt"
    SRT = "srt"
    VTT = "vtt"
    JSON = "json"


_DEFAULT_LAYOUT: Final = CaptionLayout()


def format_transcript(
    transcript_format: TranscriptFormat,
    segments: Sequence[FileSegment],
    file: FileState,
    layout: CaptionLayout = _DEFAULT_LAYOUT,
) -> str:
    """Return the transcript of a file in a format; `layout` applies to captions."""
    match transcript_format:
        case TranscriptFormat.TXT:
            return to_txt(segments, file)
        case TranscriptFormat.SRT:
            return to_srt(segments, file, layout)
        case TranscriptFormat.VTT:
            return to_vtt(segments, file, layout)
        case TranscriptFormat.JSON:
            return to_json(segments, file)
        case _:
            assert_never(transcript_format)


def to_txt(segments: Sequence[FileSegment], file: FileState) -> str:
    """Return the text alone, one line per segment, and a line in brackets for each stretch without a transcript."""
    lines = [(segment.start, segment.text.strip()) for segment in segments]
    for mark in marks_of(file):
        place = next((n for n, (start, _) in enumerate(lines) if start >= mark.start), len(lines))
        lines.insert(place, (mark.start, f"[{mark.reason}, {span(mark.start, mark.end)}]"))
    return "".join(f"{text}\n" for _, text in lines)


def to_srt(segments: Sequence[FileSegment], file: FileState, layout: CaptionLayout = _DEFAULT_LAYOUT) -> str:
    """Return SubRip captions; cues do not overlap."""
    return "\n".join(
        f"{n}\n{_timestamp(cue.start, ',')} --> {_timestamp(cue.end, ',')}\n{_text(cue)}\n"
        for n, cue in enumerate(caption_cues(segments, file, layout), start=1)
    )


def to_vtt(segments: Sequence[FileSegment], file: FileState, layout: CaptionLayout = _DEFAULT_LAYOUT) -> str:
    """Return WebVTT captions; cues do not overlap."""
    # WebVTT interprets tags and entities.
    return "WEBVTT\n" + "".join(
        f"\n{_timestamp(cue.start, '.')} --> {_timestamp(cue.end, '.')}\n{html.escape(_text(cue), quote=False)}\n"
        for cue in caption_cues(segments, file, layout)
    )


def to_json(segments: Sequence[FileSegment], file: FileState) -> str:
    """Return a JSON object with the text, the metadata of the file, such as `trust`, and the segments.

    Times are in seconds. A segment has the key `words` if words are known.
    """
    text = " ".join(segment.text.strip() for segment in segments)
    listed = [segment.model_dump(include=_SEGMENT_FIELDS, exclude_none=True) for segment in segments]
    about = file.model_dump(mode="json", include=_FILE_FIELDS)
    return json.dumps({"text": text, **about, "segments": listed}, ensure_ascii=False, indent=2) + "\n"


def span(start: float, end: float) -> str:
    """Return a stretch of a recording as `0:28 to 0:54` or `1:02:03 to 1:02:05`."""
    return f"{_clock(math.floor(start))} to {_clock(math.ceil(end))}"


def _clock(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _text(cue: Cue) -> str:
    return "\n".join(cue.lines)


def _timestamp(seconds: float, fraction_mark: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{fraction_mark}{milliseconds % 1000:03}"

"""Transcript formats: text, captions and JSON, made from segments."""

import html
import json
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise, zip_longest
from typing import Final, assert_never

from smelt.contract.events import Segment
from smelt.contract.state import FileSegment, FileState

_FILE_FIELDS: Final = {"filename", "language", "language_probability", "duration_seconds", "trust"}
_SEGMENT_FIELDS: Final = {"index", "start", "end", "text", "words"}


class TranscriptFormat(StrEnum):
    """The formats of a transcript."""

    TXT = "txt"
    SRT = "srt"
    VTT = "vtt"
    JSON = "json"


@dataclass(frozen=True, kw_only=True)
class CaptionLayout:
    """The size of a caption cue; the defaults follow the guidelines of broadcasters."""

    line_chars: int = 42
    lines: int = 2


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
            return to_txt(segments)
        case TranscriptFormat.SRT:
            return to_srt(segments, layout)
        case TranscriptFormat.VTT:
            return to_vtt(segments, layout)
        case TranscriptFormat.JSON:
            return to_json(segments, file)
        case _:
            assert_never(transcript_format)


def to_txt(segments: Sequence[Segment]) -> str:
    """Return the text alone, one line per segment."""
    return "".join(f"{segment.text.strip()}\n" for segment in segments)


def to_srt(segments: Sequence[FileSegment], layout: CaptionLayout = _DEFAULT_LAYOUT) -> str:
    """Return SubRip captions; cues do not overlap."""
    cues = enumerate(_cues(segments, layout), start=1)
    return "\n".join(
        f"{n}\n{_timestamp(start, ',')} --> {_timestamp(end, ',')}\n{text}\n" for n, (start, end, text) in cues
    )


def to_vtt(segments: Sequence[FileSegment], layout: CaptionLayout = _DEFAULT_LAYOUT) -> str:
    """Return WebVTT captions; cues do not overlap."""
    # WebVTT interprets tags and entities.
    cues = ((start, end, html.escape(text, quote=False)) for start, end, text in _cues(segments, layout))
    return "WEBVTT\n" + "".join(
        f"\n{_timestamp(start, '.')} --> {_timestamp(end, '.')}\n{text}\n" for start, end, text in cues
    )


def to_json(segments: Sequence[FileSegment], file: FileState) -> str:
    """Return a JSON object with the text, the metadata of the file, such as `trust`, and the segments.

    Times are in seconds. A segment has the key `words` if words are known.
    """
    text = " ".join(segment.text.strip() for segment in segments)
    listed = [segment.model_dump(include=_SEGMENT_FIELDS, exclude_none=True) for segment in segments]
    about = file.model_dump(mode="json", include=_FILE_FIELDS)
    return json.dumps({"text": text, **about, "segments": listed}, ensure_ascii=False, indent=2) + "\n"


def _cues(segments: Sequence[FileSegment], layout: CaptionLayout) -> Iterator[tuple[float, float, str]]:
    reached = 0.0
    for segment, following in zip_longest(segments, segments[1:]):
        start = max(reached, segment.start)
        reached = max(start, segment.end)
        # End at the start of the next segment, unless both start at the same time: then the next one is delayed.
        if following is not None and start < following.start < reached:
            reached = following.start
        yield from _segment_cues(segment, start, reached, layout)


def _segment_cues(
    segment: FileSegment, start: float, end: float, layout: CaptionLayout
) -> Iterator[tuple[float, float, str]]:
    """Yield the cues of one segment, each timed from its first letter to its last."""
    # An empty line, and some whitespace characters, would end the cue.
    text = " ".join(segment.text.replace("-->", "→").split())
    if not text:
        return
    lines = textwrap.wrap(text, layout.line_chars, break_on_hyphens=False)
    times = _letter_times(segment, _letters(text), start, end)
    letter_count = 0
    for first in range(0, len(lines), layout.lines):
        shown = lines[first : first + layout.lines]
        first_letter, letter_count = letter_count, letter_count + len(_letters("".join(shown)))
        yield times[first_letter][0], times[letter_count - 1][1], "\n".join(shown)


def _letter_times(segment: FileSegment, letters: str, start: float, end: float) -> list[tuple[float, float]]:
    """Return start and end of each letter: its share of the time of its word, or of the segment without words."""
    pieces = [(_letters(word.word), word.start, word.end) for word in segment.words or () if word.word.strip()]
    if "".join(piece for piece, _, _ in pieces) != letters:
        pieces = [(letters, start, end)]
    times: list[tuple[float, float]] = []
    reached = start
    for piece, word_start, word_end in pieces:
        from_s = min(max(reached, word_start), end)
        reached = min(max(from_s, word_end), end)
        shares = [n / len(piece) for n in range(len(piece) + 1)]
        times += pairwise(from_s * (1 - share) + reached * share for share in shares)
    return times


def _letters(text: str) -> str:
    return "".join(text.split())


def _timestamp(seconds: float, fraction_mark: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{fraction_mark}{milliseconds % 1000:03}"

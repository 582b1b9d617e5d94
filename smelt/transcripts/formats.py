"""Transcript formats: text, captions and JSON, made from segments."""

import html
import json
import math
from collections.abc import Iterable, Sequence
from typing import Final, assert_never

from smelt.contract.state import FileSegment, FileState
from smelt.contract.vocabulary import TranscriptFormat
from smelt.transcripts.caption_tokens import marks_of
from smelt.transcripts.captions import CaptionLayout, Cue, caption_cues

_FILE_FIELDS: Final = {"filename", "language", "language_probability", "duration_seconds", "trust"}
_SEGMENT_FIELDS: Final = {"index", "start", "end", "text", "speaker", "words"}


_DEFAULT_LAYOUT: Final = CaptionLayout()


def format_transcript(
    transcript_format: TranscriptFormat,
    segments: Sequence[FileSegment],
    file: FileState,
    layout: CaptionLayout = _DEFAULT_LAYOUT,
) -> str:
    """Return the transcript of a file in a format; `layout` applies to captions."""
    match transcript_format:
        case "txt":
            return to_txt(segments, file)
        case "srt":
            return to_srt(segments, file, layout)
        case "vtt":
            return to_vtt(segments, file, layout)
        case "json":
            return to_json(segments, file)
        case _:
            assert_never(transcript_format)


def to_txt(segments: Sequence[FileSegment], file: FileState) -> str:
    """Return the text alone, one line per segment, and a line in brackets for each stretch without a transcript.

    A line begins with the name of the speaker where that changes.
    """
    labels = speaker_labels(segment.speaker for segment in segments)
    lines = [(segment.start, label + segment.text.strip()) for segment, label in zip(segments, labels, strict=True)]
    for mark in marks_of(file):
        place = next((n for n, (start, _) in enumerate(lines) if start >= mark.start), len(lines))
        lines.insert(place, (mark.start, f"[{mark.reason}, {span(mark.start, mark.end)}]"))
    return "".join(f"{text}\n" for _, text in lines)


def to_srt(segments: Sequence[FileSegment], file: FileState, layout: CaptionLayout = _DEFAULT_LAYOUT) -> str:
    """Return SubRip captions; cues do not overlap. A cue begins with the name of the speaker where that changes."""
    return "\n".join(
        f"{n}\n{_timestamp(cue.start, ',')} --> {_timestamp(cue.end, ',')}\n{_text(cue)}\n"
        for n, cue in enumerate(caption_cues(segments, file, layout, has_labels=True), start=1)
    )


def to_vtt(segments: Sequence[FileSegment], file: FileState, layout: CaptionLayout = _DEFAULT_LAYOUT) -> str:
    """Return WebVTT captions; cues do not overlap. A cue with a known speaker has a voice tag."""
    return "WEBVTT\n" + "".join(
        f"\n{_timestamp(cue.start, '.')} --> {_timestamp(cue.end, '.')}\n{_voice_tag(cue)}{_escaped(_text(cue))}\n"
        for cue in caption_cues(segments, file, layout)
    )


def to_json(segments: Sequence[FileSegment], file: FileState) -> str:
    """Return a JSON object with the text, the metadata of the file, such as `trust`, and the segments.

    Times are in seconds. A segment has the key `speaker` if the speaker is known, and `words` if words are.
    """
    text = " ".join(segment.text.strip() for segment in segments)
    listed = [segment.model_dump(include=_SEGMENT_FIELDS, exclude_none=True) for segment in segments]
    about = file.model_dump(mode="json", include=_FILE_FIELDS)
    return json.dumps({"text": text, **about, "segments": listed}, ensure_ascii=False, indent=2) + "\n"


def speaker_labels(speakers: Iterable[str | None]) -> list[str]:
    """Return for each speaker `NAME: ` if that differs from the last known one, else an empty text."""
    labels, last = [], None
    for speaker in speakers:
        labels.append("" if speaker in (None, last) else f"{speaker}: ")
        last = speaker or last
    return labels


def span(start: float, end: float) -> str:
    """Return a stretch of a recording as `0:28 to 0:54` or `1:02:03 to 1:02:05`."""
    return f"{_clock(math.floor(start))} to {_clock(math.ceil(end))}"


def _clock(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _voice_tag(cue: Cue) -> str:
    return "" if cue.speaker is None else f"<v {_escaped(cue.speaker)}>"


def _escaped(text: str) -> str:
    # WebVTT interprets tags and entities.
    return html.escape(text, quote=False)


def _text(cue: Cue) -> str:
    return "\n".join(cue.lines)


def _timestamp(seconds: float, fraction_mark: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{fraction_mark}{milliseconds % 1000:03}"

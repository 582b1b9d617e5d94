"""A transcript as text, captions or JSON, made from its segments."""

import json
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from smelt.contract.events import Segment
from smelt.contract.state import FileState

_ABOUT: Final = {"filename", "language", "language_probability", "duration_seconds", "trust"}


@dataclass(frozen=True, kw_only=True)
class CaptionLayout:
    """How much text a cue shows at a time; the defaults are what broadcasters ask for."""

    line_chars: int = 42
    lines: int = 2


_USUAL: Final = CaptionLayout()


def to_txt(segments: Sequence[Segment]) -> str:
    """The words alone, one segment a line."""
    return "".join(f"{segment.text.strip()}\n" for segment in segments)


def to_srt(segments: Sequence[Segment], layout: CaptionLayout = _USUAL) -> str:
    """SubRip captions; a cue ends where the next one starts at the latest."""
    cues = enumerate(_cues(segments, layout), start=1)
    return "\n".join(f"{n}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{text}\n" for n, (start, end, text) in cues)


def to_vtt(segments: Sequence[Segment], layout: CaptionLayout = _USUAL) -> str:
    """WebVTT captions; a cue ends where the next one starts at the latest."""
    cues = (f"\n{_clock(start, '.')} --> {_clock(end, '.')}\n{text}\n" for start, end, text in _cues(segments, layout))
    return "WEBVTT\n" + "".join(cues)


def to_json(segments: Sequence[Segment], file: FileState | None = None) -> str:
    """The text and its segments with times in seconds; of a file also what is known of it, such as its `trust`."""
    text = " ".join(segment.text.strip() for segment in segments)
    listed = [segment.model_dump(include={"index", "start", "end", "text"}) for segment in segments]
    about = {} if file is None else file.model_dump(mode="json", include=_ABOUT)
    return json.dumps({"text": text, **about, "segments": listed}, ensure_ascii=False, indent=2) + "\n"


WRITERS: Final[Mapping[str, Callable[[Sequence[Segment]], str]]] = {
    "txt": to_txt,
    "srt": to_srt,
    "vtt": to_vtt,
    "json": to_json,
}
"""By the name of the format."""


def _cues(segments: Sequence[Segment], layout: CaptionLayout) -> Iterator[tuple[float, float, str]]:
    starts = [segment.start for segment in segments[1:]] + [float("inf")]
    for segment, next_start in zip(segments, starts, strict=True):
        end = max(segment.start, min(segment.end, next_start))
        yield from _shown(segment.text.replace("-->", "→"), segment.start, end, layout)


def _shown(text: str, start: float, end: float, layout: CaptionLayout) -> Iterator[tuple[float, float, str]]:
    """The cues of one segment, each for the share of its time that it has of its text."""
    # An empty line would end the cue, and so would some of what counts as space.
    lines = textwrap.wrap(" ".join(text.split()), layout.line_chars, break_on_hyphens=False)
    total = sum(map(len, lines))
    said = 0
    for first in range(0, len(lines), layout.lines):
        shown = lines[first : first + layout.lines]
        from_s = start + (end - start) * said / total
        said += sum(map(len, shown))
        yield from_s, start + (end - start) * said / total, "\n".join(shown)


def _clock(seconds: float, fraction_mark: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{fraction_mark}{milliseconds % 1000:03}"

"""Divides the segments of a transcript into timed tokens, from which captions are made. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, zip_longest
from typing import Final

from smelt.contract.state import FileSegment, FileState, Stretch
from smelt.transcripts.writing import can_cut, has_words, text_width

MIN_MARK_S: Final = 1.0
"""Shorter stretches without a transcript are not marked."""

_MAX_WORD_S: Final = 3.5
"""Without word times, a segment is spoken at this speed at least, from its start."""
_READING_CHARS_PER_S: Final = 20.0
"""If two speakers overlap, the text of each is shown long enough to be read at this speed."""


@dataclass(frozen=True)
class Mark:
    """A stretch of a recording that has no transcript, and the reason."""

    start: float
    end: float
    reason: str


@dataclass(frozen=True)
class Token:
    """A piece of text that stays on one line: a word, or a character of a script without spaces; or a mark."""

    text: str
    start: float
    end: float
    is_spaced: bool = True
    opens_segment: bool = False
    is_mark: bool = False
    speaker: str | None = None


def marks_of(file: FileState) -> tuple[Mark, ...]:
    """Return the stretches of at least `MIN_MARK_S` that were damaged or not transcribed, in order."""
    if file.trust is None:
        return ()
    found = (
        *((stretch, "speech not transcribed") for stretch in file.trust.untranscribed),
        *((stretch, "recording damaged") for stretch in file.trust.damaged),
    )
    return tuple(Mark(start, end, reason) for (start, end), reason in sorted(found) if end - start >= MIN_MARK_S)


def tokens_of(segments: Sequence[FileSegment], marks: Sequence[Mark], max_width: int) -> list[Token]:
    """Return the tokens of all segments; none starts before the end of the previous one.

    Where two speakers overlap, the first one is shown until the second one starts, or until it can be read: the second
    one is then delayed.
    """
    tokens: list[Token] = []
    reached = 0.0
    for segment, following in zip_longest(segments, segments[1:]):
        start = max(reached, segment.start)
        reading_s = len(segment.text) / _READING_CHARS_PER_S
        reached = max(start, segment.end)
        if segment.speaker is not None and start > segment.start:
            reached = max(reached, start + min(segment.end - segment.start, reading_s))
        # End at the start of the next segment, unless both start at the same time: then the next one is delayed.
        if following is not None and start < following.start < reached:
            is_overlap = following.speaker != segment.speaker
            reached = max(following.start, min(reached, start + reading_s)) if is_overlap else following.start
        tokens += _segment_tokens(segment, (start, reached), marks, max_width)
    return tokens


def with_labels(tokens: Sequence[Token], max_width: int) -> Iterator[Token]:
    """Yield the tokens, with the name of the speaker before each one whose speaker differs from the last known one."""
    speaker = None
    for token in tokens:
        if token.speaker in (None, speaker):
            yield token
            continue
        speaker, label = token.speaker, f"{token.speaker}:"
        if text_width(label) + 1 + text_width(token.text) <= max_width:
            yield replace(token, text=f"{label} {token.text}")
        else:
            yield replace(token, text=label, end=token.start, is_spaced=True)
            yield replace(token, is_spaced=True, opens_segment=False)


def _segment_tokens(segment: FileSegment, stretch: Stretch, marks: Sequence[Mark], max_width: int) -> Iterator[Token]:
    # An empty line, and some whitespace characters, would end the cue.
    words = segment.text.replace("-->", "→").split()
    letters = "".join(words)
    if not has_words(letters):
        return
    marks = [mark for mark in marks if mark.start < stretch[1] and stretch[0] < mark.end]
    pieces = [(piece, n == 0) for word in words for n, piece in enumerate(_pieces(word, max_width))]
    times = _word_times(segment, letters, stretch)
    if not times:
        start, end = stretch
        times = _spread_times(letters, (start, min(end, start + _MAX_WORD_S * max(2, len(pieces)))), marks)
    count = 0
    for piece, is_spaced in pieces:
        first, count = count, count + len(piece)
        start, end = _outside(times[first][0], times[count - 1][1], marks)
        yield Token(piece, start, end, is_spaced=is_spaced, opens_segment=first == 0, speaker=segment.speaker)


def _pieces(word: str, max_width: int) -> Iterator[str]:
    """Divide a word that is written in a script without spaces, or that is longer than a line."""
    piece, width = word[0], text_width(word[0])
    for before, after in pairwise(word):
        if can_cut(before, after) or width + text_width(after) > max_width:
            yield piece
            piece, width = "", 0
        piece += after
        width += text_width(after)
    yield piece


def _word_times(segment: FileSegment, letters: str, stretch: Stretch) -> list[Stretch]:
    """Return the time of each letter, its share of its word; empty if the words are unknown or differ from the text."""
    pieces = [("".join(word.word.split()), word.start, word.end) for word in segment.words or () if word.word.strip()]
    if "".join(piece for piece, _, _ in pieces) != letters:
        return []
    times: list[Stretch] = []
    reached, end = stretch
    for piece, word_start, word_end in pieces:
        from_s = min(max(reached, word_start), end)
        reached = min(max(from_s, word_end), end)
        times += _letter_times(piece, (from_s, reached))
    return times


def _spread_times(letters: str, stretch: Stretch, marks: Sequence[Mark]) -> list[Stretch]:
    """Return the time of each letter: its share of the parts of a stretch that are outside of marks."""
    start, end = stretch
    parts: list[Stretch] = []
    for mark in marks:
        parts.append((start, min(end, max(start, mark.start))))
        start = min(end, max(start, mark.end))
    parts.append((start, end))
    total = sum(until - since for since, until in parts)
    if total <= 0:
        return list(_letter_times(letters, stretch))
    times: list[Stretch] = []
    passed = 0.0
    for since, until in parts:
        passed += until - since
        times += _letter_times(letters[len(times) : round(len(letters) * passed / total)], (since, until))
    return times


def _letter_times(letters: str, stretch: Stretch) -> Iterator[Stretch]:
    start, end = stretch
    duration_s = end - start
    return pairwise(min(end, start + duration_s * n / len(letters)) for n in range(len(letters) + 1) if letters)


def _outside(start: float, end: float, marks: Iterable[Mark]) -> Stretch:
    """Shorten the time of a token that extends into a mark; one that is inside of it keeps its time."""
    for mark in marks:
        if start < mark.start < end:
            end = mark.start
        elif start < mark.end < end:
            start = mark.end
    return start, end

"""Splits the tokens of a window into segments at its timestamps. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

# Fast speech has about eight.
_MAX_TOKENS_PER_S: Final = 12.0


@dataclass(frozen=True)
class TokenSegment:
    """The tokens of a segment, with its times in seconds from the start of the window."""

    start_s: float
    end_s: float
    tokens: tuple[int, ...]


def split_at_timestamps(
    tokens: Sequence[int], *, timestamp_begin: int, tick_s: float, window_s: float
) -> tuple[list[TokenSegment], float]:
    """Return the segments of a window, and the time at which the next window starts.

    Two timestamps in a row end a segment and start the next one. Text after the last pair continues beyond the window,
    so the next window starts there. A single timestamp at the end means that nothing follows in this window. The rules
    are those of OpenAI's Whisper.
    """
    is_mark = [token >= timestamp_begin for token in tokens]

    def time_s(token: int) -> float:
        return min((token - timestamp_begin) * tick_s, window_s)

    ends = [n for n in range(1, len(tokens)) if is_mark[n - 1] and is_mark[n]]
    ends_in_window = bool(tokens) and is_mark[-1] and (len(tokens) == 1 or not is_mark[-2])
    if not ends:
        marks = [token for token, mark in zip(tokens, is_mark, strict=True) if mark]
        start_s = time_s(tokens[0]) if marks and is_mark[0] else 0.0
        end_s = time_s(marks[-1]) if len(marks) > 1 or (marks and not is_mark[0]) else window_s
        if end_s <= start_s:
            start_s, end_s = 0.0, window_s
        return [TokenSegment(start_s, end_s, tuple(tokens))], window_s
    if ends_in_window:
        ends.append(len(tokens))
    segments = []
    for first, end in pairwise([0, *ends]):
        part = tuple(tokens[first:end])
        segments.append(TokenSegment(time_s(part[0]) if is_mark[first] else 0.0, time_s(part[-1]), part))
    return segments, window_s if ends_in_window else segments[-1].end_s


def without_repetition(
    before: Sequence[TokenSegment], after: Sequence[TokenSegment], *, timestamp_begin: int
) -> list[TokenSegment]:
    """Return the segments of a continuation without the words that end the segments before it.

    A model may begin again at the sentence in which it has stopped, and write all of it into the time of its rest: more
    than anybody can speak in this time. A sentence that is really spoken twice has the time for it.
    """
    first, *others = after
    text = _text(first, timestamp_begin)
    if len(text) <= _MAX_TOKENS_PER_S * (first.end_s - first.start_s):
        return [*after]
    written = tuple(token for segment in before for token in _text(segment, timestamp_begin))
    count = next((n for n in range(min(len(text), len(written)), 0, -1) if written[-n:] == text[:n]), 0)
    rest = text[count:]
    return [replace(first, tokens=rest), *others] if rest else others


def _text(segment: TokenSegment, timestamp_begin: int) -> tuple[int, ...]:
    return tuple(token for token in segment.tokens if token < timestamp_begin)

"""Cuts the segments of a transcript into caption cues. Pure.

The cues are the cheapest division of the whole text. Each cue costs by the square of its length, so that a text is
divided evenly; each cut costs by its place; a cue that nobody can read, such as one of a single word, costs more than
any other division.
"""

import math
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, zip_longest
from typing import Final

from smelt.contract.state import FileSegment, FileState
from smelt.transcripts.caption_tokens import MIN_MARK_S, Mark, Token, marks_of, tokens_of, with_labels
from smelt.transcripts.writing import has_words, is_unspaced, text_width

MIN_CUE_S: Final = 0.8
MAX_CUE_S: Final = 7.0

_SHORT_MARK: Final = "[...]"
"""The text of a mark in a layout that has no room for the reason."""

_MAX_PAUSE_S: Final = 1.0
"""A cue never shows words on both sides of a pause this long."""
_MAX_SLOW_WORDS: Final = 3
"""A cue of so few words is not divided if it lasts longer than `MAX_CUE_S`: it ends early."""

_MAX_BOUND_CHARS: Final = 3
_FILL_COST: Final = 100.0
"""The cost of a full cue, and of a full line; half a cue costs a quarter."""
_SENTENCE_CUT_COST: Final = 25.0
_CLAUSE_CUT_COST: Final = 50.0
_WORD_CUT_COST: Final = 70.0
"""The cost of a cut after the end of a sentence, after another punctuation mark, and after any other word."""
_BOUND_CUT_COST: Final = 90.0
"""The cost of a cut after an abbreviation or a short word, such as an article: it belongs to the next word."""
_INSIDE_WORD_CUT_COST: Final = 200.0
_SEGMENT_CUT_DISCOUNT: Final = 12.0
"""The discount for a cut between segments, where the model has cut the text already."""
_UNREADABLE_COST: Final = 500.0
"""The cost of a cue with a single word, or with too little time; above `_FILL_COST` and `_SLOW_COST`."""
_SLOW_COST: Final = 150.0
_LINE_COST: Final = 1000.0

_SENTENCE_ENDS: Final = frozenset(".!?…\u3002\uff01\uff1f\uff61\u0964\u0965\u061f\u06d4\u0589\u1362\u104b\u17d4")
"""The marks of all scripts that end a sentence."""
_QUOTES: Final = "\"'”\u2019»)]」』"
_ABBREVIATIONS: Final = frozenset(("mr", "mrs", "ms", "dr", "prof", "st", "vs", "e.g", "i.e", "z.b", "bzw", "ca", "nr"))


@dataclass(frozen=True, kw_only=True)
class CaptionLayout:
    """The size of a caption cue; the defaults follow the guidelines of broadcasters. Wide characters count as two."""

    line_chars: int = 42
    lines: int = 2


@dataclass(frozen=True)
class Cue:
    """A caption: its time on the screen in seconds, its lines, and its speaker if that is known."""

    start: float
    end: float
    lines: tuple[str, ...]
    speaker: str | None = None


def caption_cues(
    segments: Sequence[FileSegment], file: FileState, layout: CaptionLayout, *, has_labels: bool = False
) -> list[Cue]:
    """Return the cues of a transcript, and a cue for each stretch without one; cues do not overlap.

    A cue has one speaker; with `has_labels`, its text begins with the name where the speaker changes. A cue lasts at
    least `MIN_CUE_S`, if there is silence to extend it into, and at most `MAX_CUE_S`. The cue of a stretch without a
    transcript lasts as long as the stretch.
    """
    marks = marks_of(file)
    spoken = tokens_of(segments, marks, layout.line_chars)
    if has_labels:
        spoken = list(with_labels(spoken, layout.line_chars))
    tokens = list(_with_marks(spoken, marks, layout))
    limit = math.inf if file.duration_seconds is None else file.duration_seconds
    ranges = _cheapest_division(len(tokens), _CueCosts(tokens, layout, limit).from_token)
    cues = (_cue(tokens[first:after], layout) for first, after in ranges)
    return _readable([cue for cue in cues if cue.lines == (_SHORT_MARK,) or has_words("".join(cue.lines))], limit)


def _with_marks(tokens: Sequence[Token], marks: Sequence[Mark], layout: CaptionLayout) -> Iterator[Token]:
    """Yield tokens and, in the pauses between them, marks."""
    reached, waiting = 0.0, list(reversed(marks))
    for token in (*tokens, None):
        until = math.inf if token is None else token.start
        while waiting and waiting[-1].start < until:
            mark = waiting[-1]
            start, end = max(reached, mark.start), min(until, mark.end)
            if end - start >= MIN_MARK_S:
                yield Token(_mark_text(mark, layout), start, end, is_mark=True)
                reached = end
            if mark.end > until:
                break  # The rest of the mark is after the token.
            waiting.pop()
        if token is not None:
            reached = max(reached, token.end)
            yield token


def _mark_text(mark: Mark, layout: CaptionLayout) -> str:
    lines = textwrap.wrap(f"[{mark.reason}]", layout.line_chars, break_long_words=False)
    fits = len(lines) <= layout.lines and max(map(len, lines)) <= layout.line_chars
    return "\n".join(lines) if fits else _SHORT_MARK


def _run_ends(tokens: Sequence[Token]) -> Iterator[int]:
    """Yield for each token the end of the tokens that may share a cue with it: a mark, a speaker, or a long pause."""
    first = 0
    for n, (before, after) in enumerate(zip_longest(tokens, tokens[1:]), start=1):
        if after is None or _is_run_end(before, after):
            yield from [n] * (n - first)
            first = n


def _is_run_end(before: Token, after: Token) -> bool:
    is_pause = after.start - before.end >= _MAX_PAUSE_S
    return is_pause or before.is_mark or after.is_mark or before.speaker != after.speaker


def _cut_cost(before: Token, after: Token) -> float:
    """Return the cost of a cue that ends between two tokens: lower in a pause and between segments."""
    cost = _ending_cost(before, after) - (_SEGMENT_CUT_DISCOUNT if after.opens_segment else 0.0)
    return cost * (1 - min(1.0, max(0.0, after.start - before.end) / _MAX_PAUSE_S))


def _ending_cost(token: Token, following: Token) -> float:
    """Return the cost of a cue or line that ends between two tokens."""
    word = token.text
    if not (following.is_spaced or is_unspaced(word[-1]) or is_unspaced(following.text[0])):
        return _INSIDE_WORD_CUT_COST
    unquoted = word.rstrip(_QUOTES) or word
    if _is_abbreviation(unquoted):
        return _BOUND_CUT_COST
    if unquoted[-1] in _SENTENCE_ENDS:
        return _SENTENCE_CUT_COST
    if unicodedata.category(word[-1])[0] == "P":
        return _CLAUSE_CUT_COST
    is_bound = len(word) <= _MAX_BOUND_CHARS and not is_unspaced(word[-1])
    return _BOUND_CUT_COST if is_bound else _WORD_CUT_COST


def _is_abbreviation(word: str) -> bool:
    return word.endswith(".") and (word[:-1].casefold() in _ABBREVIATIONS or (len(word) == 2 and word.isupper()))


class _CueCosts:
    """The costs of the cues that are possible with tokens and a layout."""

    def __init__(self, tokens: Sequence[Token], layout: CaptionLayout, limit: float) -> None:
        self._tokens = tokens
        self._layout = layout
        self._widths = [text_width(token.text) for token in tokens]
        self._cuts = [_cut_cost(before, after) for before, after in pairwise(tokens)] + [0.0]
        self._run_ends = list(_run_ends(tokens))
        self._words = [has_words(token.text) for token in tokens]
        starts = [token.start for token in tokens]
        self._pauses = [after - token.end for token, after in zip(tokens, [*starts[1:], limit], strict=False)]

    def from_token(self, first: int) -> Iterator[tuple[int, float]]:
        """Yield the end and the cost of each cue that may start with a token."""
        line_count, line_width, width, word_count = 1, 0, 0, 0
        start = self._tokens[first].start
        for last in range(first, self._run_ends[first]):
            token, token_width = self._tokens[last], self._widths[last]
            space = 1 if token.is_spaced and last > first else 0
            if last > first and line_width + space + token_width > self._layout.line_chars:
                line_count, line_width = line_count + 1, token_width
            else:
                line_width += space + token_width
            width += space + token_width
            word_count += self._words[last]
            is_slow = token.end - start > MAX_CUE_S
            if last > first and (line_count > self._layout.lines or (is_slow and word_count > _MAX_SLOW_WORDS)):
                return
            yield last + 1, self._cost(first, last, width, word_count)

    def _cost(self, first: int, last: int, width: int, word_count: int) -> float:
        if self._tokens[first].is_mark:
            return 0.0
        cost = _FILL_COST * (width / (self._layout.line_chars * self._layout.lines)) ** 2 + self._cuts[last]
        duration_s = self._tokens[last].end - self._tokens[first].start
        if word_count < 2:
            cost += _UNREADABLE_COST
        if duration_s > MAX_CUE_S:
            cost += _SLOW_COST
        # The previous cue may need up to `MIN_CUE_S` of the pause before this one.
        pause_s = self._tokens[0].start if first == 0 else max(0.0, self._pauses[first - 1] - MIN_CUE_S)
        if pause_s + duration_s + max(0.0, self._pauses[last]) < MIN_CUE_S:
            cost += _UNREADABLE_COST
        return cost


def _cheapest_division(
    count: int, costs_from: Callable[[int], Iterable[tuple[int, float]]]
) -> Iterator[tuple[int, int]]:
    """Divide `count` tokens into ranges with the lowest sum of costs; yield the first token of each, and its end.

    Args:
        costs_from: returns the end and the cost of each range that may start with a token; that of one token is
            always possible.
    """
    best = [0.0, *[math.inf] * count]
    first_of = [0] * (count + 1)
    for first in range(count):
        for after, cost in costs_from(first):
            if best[first] + cost < best[after]:
                best[after], first_of[after] = best[first] + cost, first
    ranges = []
    while count:
        ranges.append((first_of[count], count))
        count = first_of[count]
    return reversed(ranges)


def _cue(tokens: Sequence[Token], layout: CaptionLayout) -> Cue:
    """Return a cue with few lines of about the same length."""
    start, end = tokens[0].start, tokens[-1].end
    if tokens[0].is_mark:
        return Cue(start, end, tuple(tokens[0].text.split("\n")))

    def costs_from(first: int) -> Iterator[tuple[int, float]]:
        for after in range(first + 1, len(tokens) + 1):
            width = text_width(_joined(tokens[first:after]))
            if after > first + 1 and width > layout.line_chars:
                return
            cut_cost = 0.0 if after == len(tokens) else _ending_cost(tokens[after - 1], tokens[after]) / 2
            yield after, _LINE_COST + _FILL_COST * (width / layout.line_chars) ** 2 + cut_cost

    lines = tuple(_joined(tokens[first:after]) for first, after in _cheapest_division(len(tokens), costs_from))
    return Cue(start, min(end, start + MAX_CUE_S), lines, tokens[0].speaker)


def _readable(cues: Sequence[Cue], limit: float) -> list[Cue]:
    """Extend cues to `MIN_CUE_S` into the silence after them, then before them."""
    extended: list[Cue] = []
    shown_until = 0.0
    for cue, following in zip_longest(cues, cues[1:]):
        end = max(cue.end, min(cue.start + MIN_CUE_S, limit if following is None else following.start))
        start = min(cue.start, max(shown_until, end - MIN_CUE_S))
        extended.append(replace(cue, start=start, end=end))
        shown_until = end
    return extended


def _joined(tokens: Sequence[Token]) -> str:
    return "".join(f" {token.text}" if token.is_spaced else token.text for token in tokens).removeprefix(" ")

"""Splits segments and texts into sentences. Pure."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from smelt.contract.events import Segment
from smelt.processor.synthesis.words import is_east_asian, is_unspaced, length_in_words

_MAX_SENTENCE_WORDS: Final = 60
_ABBREVIATIONS: Final = frozenset(
    ("mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "e.g", "i.e", "approx", "no", "z.b", "bzw", "ca", "nr")
)
_SPACED: Final = ".!?…\u0964\u0965\u061f\u06d4\u0589\u1362\u17d4\u104b"
_UNSPACED: Final = "。\uff01\uff1f"
CLOSING: Final = _SPACED + _UNSPACED
"""Marks that end a sentence: those followed by a space, and those of scripts without spaces."""
QUESTIONING: Final = "?\u061f\uff1f"
"""The closing marks of questions."""
_QUOTES: Final = "\"'”\u2019»)\\]"
_END: Final = re.compile(rf"(?<=[{_SPACED}])[{_QUOTES}]*\s+|(?<=[{_UNSPACED}])")
CLOSED: Final = re.compile(rf"[{CLOSING}][{_QUOTES}]*$")
"""Matches the end of a sentence that has such a mark."""
_MARKS: Final = frozenset(CLOSING)
_BULLET: Final = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+(?!\[)")


@dataclass(frozen=True)
class Sentence:
    """A sentence, its start in the recording, and its speaker if that is known; a text has no times."""

    text: str
    start_s: float | None = None
    speaker: str | None = None


def sentences_of_segments(segments: Iterable[Segment]) -> tuple[Sentence, ...]:
    """Return the sentences of a transcript; one that spans several segments of a speaker is joined.

    If a model writes no marks in a script without spaces, each segment is a sentence.
    """
    segments = tuple(segments)
    marked = any(not _MARKS.isdisjoint(segment.text) for segment in segments)
    turns = groupby(segments, key=lambda segment: segment.speaker)
    return tuple(sentence for speaker, turn in turns for sentence in _sentences_of_turn(turn, speaker, marked=marked))


def _sentences_of_turn(segments: Iterable[Segment], speaker: str | None, *, marked: bool) -> Iterator[Sentence]:
    open_text, open_start = "", 0.0
    for segment in segments:
        if not open_text:
            open_start = segment.start
        *whole, rest = split_sentences(joined(open_text, segment.text.strip()))
        for text in whole:
            yield Sentence(text, open_start, speaker)
            open_start = segment.start
        is_whole = not marked and is_unspaced(rest[-1:])
        if rest and (is_whole or CLOSED.search(rest) or length_in_words(rest) > _MAX_SENTENCE_WORDS):
            yield Sentence(rest, open_start, speaker)
            rest = ""
        open_text = rest
    if open_text:
        yield Sentence(open_text, open_start, speaker)


def joined(one: str, other: str) -> str:
    """Join two parts of a text, with a space unless the script has none."""
    return one + other if is_east_asian(one[-1:]) and is_east_asian(other[:1]) else f"{one} {other}".strip()


def sentences_of_text(text: str) -> tuple[Sentence, ...]:
    """Return the sentences of a text; a line break ends a sentence, and list markers are removed."""
    lines = (_BULLET.sub("", line).strip() for line in text.splitlines())
    return tuple(Sentence(sentence) for line in lines if line for sentence in split_sentences(line) if sentence)


def split_sentences(text: str) -> list[str]:
    """Split a text at the ends of sentences; returns at least one piece, which may be empty."""
    return list(_joined_abbreviations(re.split(_END, text))) or [""]


def _joined_abbreviations(pieces: list[str]) -> Iterator[str]:
    held = ""
    for piece in pieces:
        current = f"{held} {piece}".strip() if held else piece
        last_word = current.rsplit(None, 1)[-1].lower() if current.strip() else ""
        if last_word.endswith(".") and (last_word[:-1] in _ABBREVIATIONS or re.fullmatch(r"[^\W\d]\.", last_word)):
            held = current
            continue
        held = ""
        if current:
            yield current
    if held:
        yield held

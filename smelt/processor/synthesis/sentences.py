"""Sentences out of segments and texts. Pure."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from smelt.contract.events import Segment

_LONGEST_WORDS: Final = 60
_ABBREVIATIONS: Final = frozenset(
    ("mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "e.g", "i.e", "approx", "no", "z.b", "bzw", "ca", "nr")
)
CLOSING: Final = ".!?…。\uff01\uff1f"
"""What ends a sentence; the last three in scripts that are written without spaces."""
_QUOTES: Final = "\"'”\u2019»)\\]"
_END: Final = re.compile(rf"(?<=[.!?…])[{_QUOTES}]*\s+|(?<=[。\uff01\uff1f])")
_CLOSED: Final = re.compile(rf"[{CLOSING}][{_QUOTES}]*$")
_BULLET: Final = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+(?!\[)")


@dataclass(frozen=True)
class Sentence:
    """A sentence and where in the recording it begins; a text has no times."""

    text: str
    start_s: float | None = None

    @property
    def word_count(self) -> int:
        """How many words, as far as spaces tell."""
        return len(self.text.split())


def sentences_of_segments(segments: Iterable[Segment]) -> tuple[Sentence, ...]:
    """The sentences of a transcript; one that runs over several segments is put together."""
    sentences: list[Sentence] = []
    open_text, open_start = "", 0.0
    for segment in segments:
        if not open_text:
            open_start = segment.start
        *whole, rest = split_sentences(f"{open_text} {segment.text}".strip())
        for text in whole:
            sentences.append(Sentence(text, open_start))
            open_start = segment.start
        if _CLOSED.search(rest) or len(rest.split()) > _LONGEST_WORDS:
            sentences.append(Sentence(rest, open_start))
            rest = ""
        open_text = rest
    if open_text:
        sentences.append(Sentence(open_text, open_start))
    return tuple(sentence for sentence in sentences if sentence.text)


def sentences_of_text(text: str) -> tuple[Sentence, ...]:
    """The sentences of a text; a line break ends one, and marks of lists are left out."""
    lines = (_BULLET.sub("", line).strip() for line in text.splitlines())
    return tuple(Sentence(sentence) for line in lines if line for sentence in split_sentences(line) if sentence)


def split_sentences(text: str) -> list[str]:
    """Split where a sentence ends; always at least one piece, which may be empty."""
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

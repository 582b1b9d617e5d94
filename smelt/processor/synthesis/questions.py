"""Finds questions and the sentences that answer them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from smelt.processor.synthesis.phrasing import Phrasing, phrasings_of
from smelt.processor.synthesis.sentences import CLOSING, QUESTIONING, Sentence
from smelt.processor.synthesis.words import length_in_words

_MAX_REPLY_SENTENCES: Final = 3
# `Right?` asks for nothing.
_MIN_QUESTION_WORDS: Final = 2
_QUOTES: Final = "\"'”\u2019») "


@dataclass(frozen=True)
class Pair:
    """The index of a question, and the indexes of the sentences that answer it."""

    question: int
    replies: tuple[int, ...]


def question_pairs(sentences: Sequence[Sentence], languages: Sequence[str]) -> tuple[Pair, ...]:
    """Return the questions in order: the sentences with a mark, or if there is not one mark, by the rules."""
    phrasings = phrasings_of(languages)
    asks = _asked(sentences, phrasings)
    return tuple(
        Pair(index, _replies(index, sentences, asks, phrasings))
        for index, is_question in enumerate(asks)
        if is_question and length_in_words(sentences[index].text) >= _MIN_QUESTION_WORDS
    )


def has_marks(sentences: Sequence[Sentence]) -> bool:
    """Return True if a sentence has a question mark."""
    return any(_is_marked(sentence.text) for sentence in sentences)


def _asked(sentences: Sequence[Sentence], phrasings: Sequence[Phrasing]) -> list[bool]:
    if has_marks(sentences):
        return [_is_marked(sentence.text) for sentence in sentences]
    return [any(phrasing.is_question(sentence.text) for phrasing in phrasings) for sentence in sentences]


def _is_marked(text: str) -> bool:
    return text.rstrip(_QUOTES).endswith(tuple(QUESTIONING))


def _replies(
    question: int, sentences: Sequence[Sentence], asks: Sequence[bool], phrasings: Sequence[Phrasing]
) -> tuple[int, ...]:
    """Return the sentences after a question, up to the next one; without fillers, and parts of the question."""
    replies: list[int] = []
    for index in range(question + 1, len(sentences)):
        if asks[index] or len(replies) == _MAX_REPLY_SENTENCES or _is_over(replies, sentences, index):
            break
        text = sentences[index].text
        is_filler = any(phrasing.is_filler(text) for phrasing in phrasings)
        if not is_filler and not _repeats(text, sentences[question].text):
            replies.append(index)
    return tuple(replies)


def _is_over(replies: Sequence[int], sentences: Sequence[Sentence], index: int) -> bool:
    """Return True if the speaker of the reply has changed."""
    return bool(replies) and sentences[index].speaker != sentences[replies[-1]].speaker


def _repeats(text: str, question: str) -> bool:
    return f" {' '.join(_words(text))} " in f" {' '.join(_words(question))} "


def _words(text: str) -> list[str]:
    return text.lower().strip(f"{_QUOTES}{CLOSING},").split()

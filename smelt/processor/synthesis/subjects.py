"""The words of a text that may indicate its subject: not the stop words of its languages. Pure."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from typing import Final

from stopwordsiso import has_lang, langs, stopwords

from smelt.processor.synthesis.words import HAN, HIRAGANA, KATAKANA

_BETWEEN_HIRAGANA: Final = re.compile(f"[{HAN}]+|[{KATAKANA}]+|[^{HAN}{KATAKANA}{HIRAGANA}]+")
# Scripts after this letter write no vowels, or a syllable as one character: their words are shorter.
_LONG_WORDS: Final = "\u052f"
_MIN_LETTERS, _MIN_SHORT_LETTERS = 3, 2
_APOSTROPHES: Final = "'\u2019"
# Of a text whose language is guessed; lists of languages have words in common.
_MIN_STOP_WORDS, _MIN_STOP_WORD_RATIO = 3, 1.25

# Words of every meeting, and the subject of none, that are not in the lists of stop words.
_SMALL_TALK: Final = frozenset(
    (
        *("yeah", "yep", "yes", "okay", "uh", "um", "hmm", "huh", "mhm", "gonna", "wanna", "gotta", "kinda", "stuff"),
        *("guys", "lot", "basically", "actually", "morning", "thank", "thanks", "today", "tomorrow", "yesterday"),
        *("talk", "agree", "action", "item", "asked", "going", "äh", "ähm", "halt", "naja", "genau", "danke", "bitte"),
        *("hallo", "vale", "eh", "hola", "gracias", "mañana", "oui", "bonjour", "demain", "hier", "faut", "euh"),
    )
)


@cache
def stop_words(languages: tuple[str, ...]) -> frozenset[str]:
    """Return the words in lower case that are never the subject, of those languages that have a list."""
    listed = (stopwords(language) for language in languages if has_lang(language))
    return _SMALL_TALK.union(*listed)


def guessed_language(text: str) -> str:
    """Return the language whose stop words cover most of a text; English unless another one covers clearly more."""
    words = Counter(re.findall(r"[^\W\d_]+", text.lower()))
    hits = {language: sum(words[word] for word in words.keys() & stopwords(language)) for language in sorted(langs())}
    best = max(hits, key=lambda language: hits[language])
    return best if hits[best] >= max(_MIN_STOP_WORDS, _MIN_STOP_WORD_RATIO * hits["en"]) else "en"


def significant_words(text: str, languages: tuple[str, ...]) -> list[str]:
    """Return the words in lower case that may indicate the subject, in order."""
    return [word.lower() for word in spelled_words(text, languages) if word]


def spelled_words(text: str, languages: tuple[str, ...]) -> list[str]:
    """Return the words that may indicate the subject, and an empty text for everything else between them."""
    stops = stop_words(languages)
    words: list[str] = []
    for is_word, letters in groupby(text, key=_in_word):
        run = "".join(letters).strip(_APOSTROPHES)
        if not is_word:
            words.extend("" for _ in run)
        elif run.lower().replace("\u2019", "'") in stops:
            words.append("")
        else:
            words.extend(part if _is_significant(part, stops) else "" for part in _parts(run))
    return words


def _is_significant(word: str, stops: frozenset[str]) -> bool:
    return word.lower() not in stops and len(word) >= (_MIN_SHORT_LETTERS if word > _LONG_WORDS else _MIN_LETTERS)


def _in_word(letter: str) -> bool:
    # Combining marks are the vowels of many scripts.
    return letter.isalpha() or letter in _APOSTROPHES or unicodedata.category(letter).startswith("M")


def _parts(run: str) -> Iterator[str]:
    # `l'équipe`, `Anna's`.
    stem = max(re.split(f"[{_APOSTROPHES}]", run), key=len)
    # Most Chinese words have two characters. Japanese writes mostly grammar in Hiragana.
    for part in _BETWEEN_HIRAGANA.findall(stem):
        if re.match(f"[{HAN}]", part):
            yield from (part[n : n + 2] for n in range(len(part) - 1))
        else:
            yield part

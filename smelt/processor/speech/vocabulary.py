"""The vocabulary of a smelt, as a prompt for the model; and texts that only repeat it. Pure."""

from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from typing import Final

from smelt.processor.speech.words import words_of

MAX_PROMPT_TOKENS: Final = 223
"""Half of the context of Whisper, without the token that starts the prompt."""

_SEPARATOR: Final = ", "
# Of the letters: the words of a name that was recognized resemble its spelling.
_MIN_SIMILARITY: Final = 0.5


def fitting_prompt(
    terms: Sequence[str], encode: Callable[[str], list[int]], max_tokens: int = MAX_PROMPT_TOKENS
) -> tuple[list[int], int]:
    """Return the tokens of as many terms as fit, and their number; a term is never cut."""
    tokens: list[int] = []
    for count in range(1, len(terms) + 1):
        longer = encode(" " + _SEPARATOR.join(" ".join(term.split()) for term in terms[:count]))
        if len(longer) > max_tokens:
            return tokens, count - 1
        tokens = longer
    return tokens, len(terms)


def is_echo(text: str, terms: Sequence[str]) -> bool:
    """Return True if half of the words are in the vocabulary: the model may repeat its prompt, often imprecisely."""
    known = {word for term in terms for word in words_of(term)}
    words = words_of(text)
    return bool(words) and 2 * sum(word in known for word in words) >= len(words)


def is_same_speech(text: str, plain: str) -> bool:
    """Return True if two texts are spellings of the same speech.

    Args:
        text: the text with the vocabulary.
        plain: the text without it.
    """
    one, other = ("".join(words_of(part)) for part in (text, plain))
    return SequenceMatcher(None, one, other, autojunk=False).ratio() >= _MIN_SIMILARITY

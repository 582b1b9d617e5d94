"""How much of a transcript fits into one request. Pure."""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final

from smelt.processor.synthesis.llm.json_data import size_bytes

# Tokenizers differ; three bytes a token is on the safe side for all of them but a few scripts, which have more bytes.
_BYTES_A_TOKEN: Final = 3
_RULES_TOKENS: Final = 500
_OUTPUT_SHARE: Final = 0.25


def transcript_bytes(context_tokens: int, instruction: str) -> int:
    """How many bytes of transcript fit next to the rules, the instruction and the output."""
    room = (context_tokens * (1 - _OUTPUT_SHARE) - _RULES_TOKENS) * _BYTES_A_TOKEN
    return max(400, int(room - len(instruction.encode())))


def parts(texts: Sequence[str], most_bytes: int) -> list[str]:
    """Join texts to as few parts as fit as data, in order, so that nothing is left out; a longer text is cut."""
    joined: list[str] = []
    size = 0
    for piece in (piece for text in texts for piece in _cut(text, most_bytes)):
        length = size_bytes(piece) + 1
        if joined and size + length <= most_bytes:
            joined[-1] = f"{joined[-1]} {piece}"
            size += length
        else:
            joined.append(piece)
            size = length
    return joined


def typing_share(characters: int, expected_characters: int) -> float:
    """How far an output is of which the length is not known: half way at the length expected, never at the end."""
    return 1.0 - math.exp2(-characters / max(1, expected_characters))


def _cut(text: str, most_bytes: int) -> Iterator[str]:
    while size_bytes(text[:most_bytes]) >= most_bytes:
        fits = bisect_left(range(1, most_bytes), most_bytes, key=lambda end: size_bytes(text[:end]))
        # Between two words, unless there is none for long: not every script has spaces.
        space = text.rfind(" ", max(1, fits // 2), fits)
        end = space if space > 0 else max(1, fits)
        yield text[:end]
        text = text[end:].lstrip(" ")
    yield text

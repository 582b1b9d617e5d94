"""Splits a transcript into parts that fit into a request. Pure."""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final

from smelt.processor.synthesis.llm.json_data import size_bytes

# Tokenizers differ; three bytes per token is a safe estimate, except in a few scripts, which have more bytes.
_BYTES_PER_TOKEN: Final = 3
_RULES_TOKENS: Final = 500
_OUTPUT_SHARE: Final = 0.25


def transcript_bytes(context_tokens: int, instruction: str) -> int:
    """Return how many bytes of transcript fit beside the rules, the instruction and the output."""
    room = (context_tokens * (1 - _OUTPUT_SHARE) - _RULES_TOKENS) * _BYTES_PER_TOKEN
    return max(400, int(room - len(instruction.encode())))


def parts(texts: Sequence[str], max_bytes: int) -> list[str]:
    """Join texts in order into as few parts as possible, each at most `max_bytes` as data; a longer text is cut."""
    joined: list[str] = []
    size = 0
    for piece in (piece for text in texts for piece in _cut(text, max_bytes)):
        length = size_bytes(piece) + 1
        if joined and size + length <= max_bytes:
            joined[-1] = f"{joined[-1]} {piece}"
            size += length
        else:
            joined.append(piece)
            size = length
    return joined


def typing_share(characters: int, expected_characters: int) -> float:
    """Return the progress of an output of unknown length: a half at the expected length, never 1."""
    return 1.0 - math.exp2(-characters / max(1, expected_characters))


def _cut(text: str, max_bytes: int) -> Iterator[str]:
    while size_bytes(text[:max_bytes]) >= max_bytes:
        fits = bisect_left(range(1, max_bytes), max_bytes, key=lambda end: size_bytes(text[:end]))
        # Cut at a space in the second half, if there is one: not every script has spaces.
        space = text.rfind(" ", max(1, fits // 2), fits)
        end = space if space > 0 else max(1, fits)
        yield text[:end]
        text = text[end:].lstrip(" ")
    yield text

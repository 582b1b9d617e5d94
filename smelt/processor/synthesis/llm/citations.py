"""Checks the times that a language model cites against those of the transcript. Pure."""

import re
from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

from smelt.processor.synthesis.markdown import clock

# A time within a sentence is corrected to its start; one in a longer pause is wrong.
_MAX_CORRECTION_S: Final = 30
_TIME: Final = re.compile(r"(?<![\d:])\d{1,3}:[0-5]\d(?::[0-5]\d)?(?![\d:])")
# `[12:34]`, `[12:34-12:50]`, `[12:34, 12:50]`; also impossible ones, such as `[12:75]`.
# A model writes the text, perhaps one character without end: no part of an expression may overlap with the next one.
_BRACKETS: Final = r"\[\d+:\d[\d:.,;\s\u2010-\u2015-]*\]"
# With the blanks that go with it: those before it, at the beginning of a line those after it. A run of blanks is only
# tried from its first one.
_CITATION: Final = re.compile(rf"^{_BRACKETS}(?P<after>[ \t]*)|(?P<before>(?<![ \t])[ \t]+)?{_BRACKETS}", re.MULTILINE)


class Citations:
    """The times of the sentences of one source; without any, all texts stay as they are."""

    def __init__(self, starts_s: Iterable[float | None]) -> None:
        self._starts_s = sorted({int(start_s) for start_s in starts_s if start_s is not None})

    @property
    def exist(self) -> bool:
        """True if the sentences have times."""
        return bool(self._starts_s)

    def checked(self, text: str) -> str:
        """Return a text whose citations are the start of a sentence each; the others are removed."""
        return _CITATION.sub(self._citation, text) if self.exist else text

    def _citation(self, match: re.Match[str]) -> str:
        starts_s = [self._start_s(time) for time in _TIME.findall(match[0])]
        cited = " ".join(dict.fromkeys(f"[{clock(start_s)}]" for start_s in starts_s if start_s is not None))
        return f"{match['before'] or ''}{cited}{match['after'] or ''}" if cited else ""

    def _start_s(self, time: str) -> int | None:
        """Return the start of the sentence that is spoken at a time."""
        cited_s = 0
        for part in time.split(":"):
            cited_s = cited_s * 60 + int(part)
        index = bisect_right(self._starts_s, cited_s) - 1
        if index < 0 or cited_s - self._starts_s[index] > _MAX_CORRECTION_S:
            return None
        return self._starts_s[index]

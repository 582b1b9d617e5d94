"""A progress line for a step of the recipe, with the remaining time."""

import sys
import time
from types import TracebackType
from typing import Self


class Progress:
    """Counts to `total`; on a terminal the line is rewritten, elsewhere a line is printed every 30 seconds."""

    def __init__(self, name: str, total: int, done: int = 0) -> None:
        self._name, self._total, self._done = name, total, done
        self._first, self._began, self._shown = done, time.monotonic(), 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._done > self._first:
            self._show("\n")

    def advance(self, note: str = "") -> None:
        """Count one more; `note` is shown at the end of the line."""
        self._done += 1
        terminal = sys.stderr.isatty()
        if time.monotonic() - self._shown > (0.5 if terminal else 30):
            self._show("" if terminal else "\n", note)

    def _show(self, end: str, note: str = "") -> None:
        self._shown = time.monotonic()
        step_s = (self._shown - self._began) / (self._done - self._first)
        left_min = step_s * (self._total - self._done) / 60
        line = f"{self._name}: {self._done}/{self._total}, {left_min:.1f} min left {note}"
        print(f"\r{line:<100}", end=end, file=sys.stderr, flush=True)

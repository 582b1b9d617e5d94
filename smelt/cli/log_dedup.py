"""Limits repeated warnings: during an outage the same one is logged every 30 s at most, with its count."""

import logging
import math
import time
from collections.abc import Callable
from typing import Final

REPEAT_INTERVAL_S: Final = 30.0


class DuplicateLogFilter(logging.Filter):
    """Drops a warning if the same logger wrote the same text less than `REPEAT_INTERVAL_S` before."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._last_written: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True if the record is to be written; add the number of dropped repeats to its text."""
        if record.levelno != logging.WARNING:
            return True
        now_s, message = self._clock(), record.getMessage()
        key = (record.name, message)
        last_s, suppressed_count = self._last_written.get(key, (-math.inf, 0))
        if now_s - last_s < REPEAT_INTERVAL_S:
            self._last_written[key] = (last_s, suppressed_count + 1)
            return False
        oldest_s = now_s - 10 * REPEAT_INTERVAL_S
        self._last_written = {known: entry for known, entry in self._last_written.items() if entry[0] > oldest_s}
        self._last_written[key] = (now_s, 0)
        if suppressed_count:
            record.msg, record.args = f"{message} (repeated {suppressed_count} times since the last line)", ()
        return True

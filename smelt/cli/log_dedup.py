"""An outage is said, not recited: the same warning is written once in a while, with how often it was meant."""

import logging
import math
import time
from collections.abc import Callable
from typing import Final

REPEAT_INTERVAL_S: Final = 30.0


class DuplicateLogFilter(logging.Filter):
    """Holds back a warning that says, word for word, what the same logger wrote less than `EVERY_S` seconds before."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._last_written: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write it; one that follows others which were held back says how many they were."""
        if record.levelno != logging.WARNING:
            return True
        now_s, message = self._clock(), record.getMessage()
        key = (record.name, message)
        last_s, suppressed_count = self._last_written.get(key, (-math.inf, 0))
        if now_s - last_s < REPEAT_INTERVAL_S:
            self._last_written[key] = (last_s, suppressed_count + 1)
            return False
        self._last_written = {
            key_: entry for key_, entry in self._last_written.items() if now_s - entry[0] < 10 * REPEAT_INTERVAL_S
        }
        self._last_written[key] = (now_s, 0)
        if suppressed_count:
            record.msg, record.args = f"{message} ({suppressed_count} times more before)", ()
        return True

"""An outage is said, not recited: the same warning is written once in a while, with how often it was meant."""

import logging
import math
import time
from collections.abc import Callable
from typing import Final

EVERY_S: Final = 30.0


class DuplicateLogFilter(logging.Filter):
    """Holds back a warning that says, word for word, what the same logger wrote less than `EVERY_S` seconds before."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._written: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write it; one that follows others which were held back says how many they were."""
        if record.levelno != logging.WARNING:
            return True
        now_s, message = self._clock(), record.getMessage()
        key = (record.name, message)
        written_s, held_back = self._written.get(key, (-math.inf, 0))
        if now_s - written_s < EVERY_S:
            self._written[key] = (written_s, held_back + 1)
            return False
        self._written = {said: when for said, when in self._written.items() if now_s - when[0] < 10 * EVERY_S}
        self._written[key] = (now_s, 0)
        if held_back:
            record.msg, record.args = f"{message} ({held_back} times more before)", ()
        return True

"""Noticing that the machine was asleep: the clock on the wall went on meanwhile, the monotonic one did not."""

import time
from typing import Final

# Clocks that are set right now and then move less than this.
SLEPT_S: Final = 15.0


class WallClock:
    """Compares the clock on the wall with the monotonic one."""

    def __init__(self) -> None:
        self._offset_s = time.time() - time.monotonic()

    def ran_ahead_s(self) -> float:
        """Seconds that the clock on the wall gained since this was asked last; negative when it was put back."""
        offset_s = time.time() - time.monotonic()
        gained_s, self._offset_s = offset_s - self._offset_s, offset_s
        return gained_s

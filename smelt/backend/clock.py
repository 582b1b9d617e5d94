"""Detection of a suspended machine: the wall clock advances meanwhile, the monotonic clock does not."""

import time
from typing import Final

# A difference that a regular adjustment of the wall clock does not reach.
SLEPT_S: Final = 15.0


class WallClock:
    """Compares the wall clock with the monotonic clock."""

    def __init__(self) -> None:
        self._offset_s = time.time() - time.monotonic()

    def ran_ahead_s(self) -> float:
        """Return the seconds that the wall clock gained since the last call; negative if it was set back."""
        offset_s = time.time() - time.monotonic()
        gained_s, self._offset_s = offset_s - self._offset_s, offset_s
        return gained_s

"""When a change is worth a report. Pure."""

from typing import Final

REPORT_EVERY_S: Final = 1.0
# The model tells the segments of a window one by one, when all of the window is heard; a report between them would
# miss most of it, and an estimate with it.
GATHER_S: Final = 0.1


def wait_before_report_s(*, now_s: float, last_report_s: float | None, urgent: bool) -> float:
    """How long a change may wait: not at all when it is a change of stage or the first one, else up to a second."""
    if urgent or last_report_s is None:
        return 0.0
    return max(GATHER_S, last_report_s + REPORT_EVERY_S - now_s)

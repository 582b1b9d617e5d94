"""When a change is worth a report. Pure."""

from typing import Final

REPORT_INTERVAL_S: Final = 1.0
# The model tells the segments of a window one by one, when all of the window is heard; a report between them would
# miss most of it, and an estimate with it.
GATHER_S: Final = 0.1
# Whoever waits for a turn, or for a window that takes long, has no change to report, but may have to wait for longer.
ETA_CHECK_INTERVAL_S: Final = 5.0
_MOVED_SHARE: Final = 0.1
_MOVED_S: Final = 2.0


def wait_before_report_s(*, now_s: float, last_report_s: float | None, urgent: bool) -> float:
    """How long a change may wait: not at all when it is a change of stage or the first one, else up to a second."""
    if urgent or last_report_s is None:
        return 0.0
    return max(GATHER_S, last_report_s + REPORT_INTERVAL_S - now_s)


def has_moved(*, told_s: float | None, since_told_s: float, eta_s: float | None) -> bool:
    """Whether an estimate is another one than what is left of the one that was told."""
    if told_s is None or eta_s is None:
        return told_s is not eta_s
    return abs(max(0.0, told_s - since_told_s) - eta_s) > max(_MOVED_S, _MOVED_SHARE * eta_s)

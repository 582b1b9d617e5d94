"""Decides when a change is reported. Pure."""

from typing import Final

REPORT_INTERVAL_S: Final = 1.0
# faster-whisper yields all segments of a window at once; wait briefly so that one report carries them all.
GATHER_S: Final = 0.1
# A smelt that waits for the model, or for a slow window, has no other change to report, but its ETA may change.
ETA_CHECK_INTERVAL_S: Final = 5.0
_MIN_ETA_CHANGE_SHARE: Final = 0.1
_MIN_ETA_CHANGE_S: Final = 2.0


def wait_before_report_s(*, now_s: float, last_report_s: float | None, urgent: bool) -> float:
    """Return how long to wait: 0 for the first report or a change of stage, else up to a second."""
    if urgent or last_report_s is None:
        return 0.0
    return max(GATHER_S, last_report_s + REPORT_INTERVAL_S - now_s)


def eta_changed(*, last_eta_s: float | None, since_report_s: float, eta_s: float | None) -> bool:
    """Return True if the ETA differs noticeably from the last reported one, less the time since."""
    if last_eta_s is None or eta_s is None:
        return last_eta_s is not eta_s
    return abs(max(0.0, last_eta_s - since_report_s) - eta_s) > max(_MIN_ETA_CHANGE_S, _MIN_ETA_CHANGE_SHARE * eta_s)

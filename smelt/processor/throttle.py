"""Decides when a change is reported. Pure."""

from itertools import pairwise
from typing import Final

_REPORT_INTERVALS_S: Final = ((0.0, 1.0), (600.0, 1.0), (3600.0, 2.0), (21600.0, 5.0))
# faster-whisper yields all segments of a window at once; wait briefly so that one report carries them all.
GATHER_S: Final = 0.1
# A smelt that waits for the model, or for a slow window, has no other change to report, but its ETA may change.
ETA_CHECK_INTERVAL_S: Final = 5.0
_MIN_ETA_CHANGE_SHARE: Final = 0.1
_MIN_ETA_CHANGE_S: Final = 2.0


def report_interval_s(audio_s: float) -> float:
    """Return the shortest time between two reports of `audio_s` seconds of recordings, 0 for a text.

    1 s up to 10 minutes, then rising linearly to 2 s at an hour and 5 s at six hours.
    """
    for (low_s, low), (high_s, high) in pairwise(_REPORT_INTERVALS_S):
        if audio_s <= high_s:
            return low + (high - low) * (audio_s - low_s) / (high_s - low_s)
    return _REPORT_INTERVALS_S[-1][1]


def wait_before_report_s(*, now_s: float, last_report_s: float | None, interval_s: float, urgent: bool) -> float:
    """Return how long to wait: 0 for a change of stage or the first text, 0.1 s for the first report, or the rest."""
    if urgent:
        return 0.0
    if last_report_s is None:
        return GATHER_S
    return max(GATHER_S, last_report_s + interval_s - now_s)


def eta_changed(*, last_eta_s: float | None, since_report_s: float, eta_s: float | None) -> bool:
    """Return True if the ETA differs noticeably from the last reported one, less the time since."""
    if last_eta_s is None or eta_s is None:
        return last_eta_s is not eta_s
    return abs(max(0.0, last_eta_s - since_report_s) - eta_s) > max(_MIN_ETA_CHANGE_S, _MIN_ETA_CHANGE_SHARE * eta_s)

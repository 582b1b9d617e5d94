"""Places decoded sound on the recording's own clock: silence for gaps, no jump to times that can't be true. Pure."""

from collections.abc import Sequence
from typing import Final

Interval = tuple[float, float]
"""Start and end in seconds from the start of the recording."""

# Containers round times, encoders pad, and live recorders stamp packets as they arrive.
_MIN_GAP_S: Final = 0.05
# Packets of one recording overlap by less; a larger step back is the start of another clock.
_MAX_STEP_BACK_S: Final = 1.0
# Interleaved streams are closer to each other than this when their clocks are the same.
_MAX_INTERLEAVE_S: Final = 60.0
_MERGE_DISTANCE_S: Final = 0.5
_MAX_INTERVALS: Final = 100


class Clock:
    """Compares the times of frames with the position that they would take in the recording.

    Positions include filled silence, so an error of the sum never accumulates. A gap is a clock error if it is longer
    than `max_gap_s`, or if the recording would exceed `max_s`; so is a step back. After one, times are relative to
    the position where it occurred.
    """

    def __init__(self, *, max_s: float, max_gap_s: float) -> None:
        self._max_s = max_s
        self._max_gap_s = max_gap_s
        self._origin_s: float | None = None
        self._previous_s = 0.0
        self.position_s = 0.0
        self.jumps = 0
        self.max_filled_gap_s = 0.0

    @property
    def started(self) -> bool:
        """True once a time was seen."""
        return self._origin_s is not None

    def start(self, origin_s: float) -> None:
        """Set the time at which the recording starts."""
        self._origin_s = self._previous_s = origin_s

    def restart(self) -> None:
        """Begin another clock at this position."""
        self._origin_s = None

    def gap_before(self, time_s: float | None) -> float:
        """Return the seconds of silence to fill before the sound at `time_s`; None is the time of the position."""
        if time_s is None or self._origin_s is None:
            return 0.0
        stepped_back = time_s < self._previous_s - _MAX_STEP_BACK_S
        self._previous_s = time_s
        gap_s = time_s - self._origin_s - self.position_s
        if stepped_back or gap_s > min(self._max_gap_s, self._max_s - self.position_s):
            self.jumps += 1
            self._origin_s = time_s - self.position_s
            return 0.0
        if gap_s <= _MIN_GAP_S:
            return 0.0
        self.max_filled_gap_s = max(self.max_filled_gap_s, gap_s)
        return gap_s

    def advance(self, seconds: float) -> None:
        """Move the position by sound or silence of this length."""
        self.position_s += seconds

    def position_of(self, time_s: float) -> float:
        """Return the position in the recording of a time of the file."""
        return time_s - (self._origin_s or 0.0)

    def remaining(self, time_s: float | None, seconds: float) -> float:
        """Return how much of a damaged packet at `time_s` lies after the position."""
        if time_s is None or self._origin_s is None:
            return seconds
        return min(seconds, max(0.0, time_s + seconds - self._origin_s - self.position_s))


class OtherStreams:
    """The times of the picture and of other audio tracks before the sound starts."""

    def __init__(self) -> None:
        self._first_s: float | None = None
        self._last_s = 0.0

    def add(self, time_s: float) -> None:
        """Add the time of a packet, or the start of a stream."""
        self._last_s = time_s if self._first_s is None else max(self._last_s, time_s)
        self._first_s = time_s if self._first_s is None else min(self._first_s, time_s)

    def origin_s(self, sound_s: float) -> float:
        """Return where the recording starts, given the time of its first sound.

        That is the earliest start of a stream. A clock may begin anywhere, so sound alone starts at 0, and so does
        sound long after all other packets before it: the streams then have different clocks.
        """
        if self._first_s is None or self._last_s < sound_s - _MAX_INTERLEAVE_S:
            return sound_s
        return min(self._first_s, sound_s)


def merged(intervals: Sequence[Interval]) -> tuple[Interval, ...]:
    """Return ordered intervals with short distances between them closed, so that there are at most 100."""
    distance_s = _MERGE_DISTANCE_S
    while True:
        result: list[Interval] = []
        for start_s, end_s in intervals:
            if result and start_s - result[-1][1] <= distance_s:
                result[-1] = (result[-1][0], max(result[-1][1], end_s))
            else:
                result.append((start_s, end_s))
        if len(result) <= _MAX_INTERVALS:
            return tuple((round(start_s, 3), round(end_s, 3)) for start_s, end_s in result)
        distance_s *= 2

"""Where a transcription is taken up: what was saved stays as it is, and what is heard again is put behind it. Pure."""

from collections.abc import Iterable, Sequence

from smelt.contract.work import SavedSegment


class ResumeFilter:
    """Tells what is new from what was heard before.

    A window that is heard again gives the segments that it gave before, unless another worker hears it: with another
    model, less memory, or a processor that rounds differently. Watchers have the earlier ones, so these stay.
    """

    def __init__(self, saved: Sequence[SavedSegment]) -> None:
        self._texts = [segment.text for segment in saved]
        self._end_s = saved[-1].end if saved else 0.0
        self._same = True

    def new(self, segments: Iterable[SavedSegment]) -> tuple[SavedSegment, ...]:
        """Those that come after what was saved."""
        return tuple(segment for segment in segments if self._is_new(segment))

    def _is_new(self, segment: SavedSegment) -> bool:
        if self._same and segment.index < len(self._texts):
            self._same = segment.text == self._texts[segment.index]
            if self._same:
                return False
        return self._same or (segment.start + segment.end) / 2 > self._end_s

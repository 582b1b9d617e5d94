"""Resuming a transcription: keep saved segments, append only new ones. Pure."""

from collections.abc import Iterable, Sequence

from smelt.contract.work import SavedSegment


class ResumeFilter:
    """Separates new segments from saved ones.

    A window that is transcribed again gives the same segments, unless the worker differs: another model, less memory,
    or a processor that rounds differently. Watchers have received the saved segments, so these are kept.
    """

    def __init__(self, saved: Sequence[SavedSegment]) -> None:
        self._texts = [segment.text for segment in saved]
        self._end_s = saved[-1].end if saved else 0.0
        self._identical_so_far = True

    def unseen(self, segments: Iterable[SavedSegment]) -> tuple[SavedSegment, ...]:
        """Return the segments that come after the saved ones."""
        return tuple(segment for segment in segments if self._is_unseen(segment))

    def _is_unseen(self, segment: SavedSegment) -> bool:
        if self._identical_so_far and segment.index < len(self._texts):
            self._identical_so_far = segment.text == self._texts[segment.index]
            if self._identical_so_far:
                return False
        return self._identical_so_far or (segment.start + segment.end) / 2 > self._end_s

"""The transcript of one run as it arrives: each segment once, in order, without gaps."""

import json
from collections.abc import Iterable, Sequence
from typing import Final
from uuid import UUID

from smelt.contract.events import NewSegment, Segment
from smelt.contract.state import FileSegment

MAX_WHOLE_BYTES: Final = 48 * 1024
"""A report whose `progress` contains more segments than this may have sent others before it, in events `segments`."""
_SEGMENT_BYTES: Final = 150


class Transcript:
    """The segments of one run that were read or received.

    Segments are numbered from 0 in each file; one that arrives before its predecessor waits for it. `read_seq` is the
    `segments_seq` up to which the stored transcript was read without a gap.
    """

    def __init__(self, run: int) -> None:
        self.run = run
        self.read_seq = 0
        self._stored_seq = 0
        self._whole_seq = 0
        self._received_seq = 0
        self._next_index: dict[UUID, int] = {}
        self._waiting: dict[UUID, dict[int, Segment]] = {}

    @property
    def is_incomplete(self) -> bool:
        """True if segments are known to exist that were neither read nor received."""
        return bool(self._waiting) or self.read_seq < self._stored_seq

    @property
    def segments_seq(self) -> int | None:
        """The `seq` up to which all segments were returned, and none after it; None if it is unknown."""
        return self._whole_seq if self._received_seq <= self._whole_seq else None

    def record_event(self, seq: int, segments: Sequence[Segment], *, is_last: bool) -> None:
        """Record that the segments of an event were added; `is_last` if it is the last event with this `seq`.

        The `seq` after a whole one is whole as well, if nothing can be missing between them.
        """
        is_next = is_last and seq == self._whole_seq + 1 and self._received_seq <= self._whole_seq
        if is_next and not self._waiting and _size_bytes(segments) <= MAX_WHOLE_BYTES:
            self._whole_seq = seq
        elif segments:
            self._received_seq = max(self._received_seq, seq)

    def add(self, file_id: UUID, segments: Iterable[Segment]) -> tuple[Segment, ...]:
        """Add segments of one file; return those that are next in order."""
        waiting = self._waiting.get(file_id, {})
        next_index = self._next_index.get(file_id, 0)
        waiting |= {segment.index: segment for segment in segments if segment.index >= next_index}
        ready: list[Segment] = []
        while (segment := waiting.pop(next_index, None)) is not None:
            ready.append(segment)
            next_index += 1
        self._next_index[file_id] = next_index
        if waiting:
            self._waiting[file_id] = waiting
        else:
            self._waiting.pop(file_id, None)
        return tuple(ready)

    def add_of_files(self, segments: Iterable[NewSegment | FileSegment]) -> dict[UUID, tuple[Segment, ...]]:
        """Add segments of any files; return those that are next in order, by file."""
        by_file: dict[UUID, list[Segment]] = {}
        for segment in segments:
            by_file.setdefault(segment.file_id, []).append(segment)
        return {file_id: self.add(file_id, of_file) for file_id, of_file in by_file.items()}

    def add_stored(
        self, segments: Sequence[FileSegment], after_seq: int, upto_seq: int
    ) -> dict[UUID, tuple[Segment, ...]]:
        """Add the segments stored after `after_seq` up to `upto_seq`; return those that are next in order, by file."""
        self._stored_seq = max(self._stored_seq, upto_seq)
        if after_seq <= self.read_seq:
            self.read_seq = max(self.read_seq, upto_seq)
            self._whole_seq = max(self._whole_seq, upto_seq)
        elif segments:
            self._received_seq = max(self._received_seq, upto_seq)
        return self.add_of_files(segments)


def _size_bytes(segments: Sequence[Segment]) -> int:
    return sum(len(json.dumps(segment.text)) + _SEGMENT_BYTES for segment in segments)

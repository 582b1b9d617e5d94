"""The transcript of one run as it arrives: each segment once, in order, without gaps."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from smelt.contract.events import NewSegment, Segment
from smelt.contract.state import FileSegment


class Transcript:
    """The segments of one run that were read or received.

    Segments are numbered from 0 in each file; one that arrives before its predecessor waits for it. `read_seq` is the
    `segments_seq` up to which the stored transcript was read without a gap.
    """

    def __init__(self, run: int) -> None:
        self.run = run
        self.read_seq = 0
        self._stored_seq = 0
        self._next_index: dict[UUID, int] = {}
        self._waiting: dict[UUID, dict[int, Segment]] = {}

    @property
    def is_incomplete(self) -> bool:
        """True if segments are known to exist that were neither read nor received."""
        return bool(self._waiting) or self.read_seq < self._stored_seq

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
        return self.add_of_files(segments)

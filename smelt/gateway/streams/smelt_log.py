"""The log that all readers of a smelt share, and the place of one reader in it. Pure: no I/O, no waiting.

The database numbers segments by the `seq` with which they were saved, but neither snapshots nor updates contain that
number. So a *boundary* is a `seq` up to which all segments are known, and none after it; between two boundaries lies a
`Piece`. A reader has exactly the segments up to a boundary, and gets the pieces after it.
"""

from collections.abc import Iterator
from typing import Literal
from uuid import UUID

from smelt.contract.events import NewSegment
from smelt.contract.state import Snapshot
from smelt.gateway.streams.event_id import EventId
from smelt.gateway.streams.smelt_events import end_frame, frames_of_snapshot, progress_frame, segments_of
from smelt.subscriber.timeline import end_of_snapshot, progress_of_snapshot
from smelt.subscriber.updates import Ending, Progress, Segments


class Piece:
    """The segments of one run up to the boundary `upto`, after those of the piece before."""

    __slots__ = ("next", "run", "segments", "upto")

    def __init__(self, upto: int, run: int = 0, segments: tuple[NewSegment, ...] = ()) -> None:
        self.upto = upto
        self.run = run
        self.segments = segments
        self.next: Piece | None = None


class SmeltLog:
    """The newest state of a smelt, and the segments that some reader does not have yet.

    `last` is the newest piece; its boundary is -1 until a first one is known.
    """

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.end: Ending | None = None
        self.last = Piece(-1)
        self._held: list[NewSegment] = []
        self._held_run = 0
        self._cache: tuple[Piece, Piece, Progress, bytes] | None = None

    @property
    def is_holding(self) -> bool:
        """True if segments wait for a boundary after them."""
        return bool(self._held)

    def add(self, update: Progress | Segments) -> None:
        """Add an update; its segments are visible to readers after `settle`."""
        if isinstance(update, Progress):
            self.progress = update
            return
        if update.run != self._held_run:
            self._held, self._held_run = [], update.run
        self._held += segments_of(update)

    def conclude(self, end: Ending, segments_seq: int | None) -> None:
        """Add the end, unless something before it is unknown: then each reader has to read the state itself."""
        if segments_seq is not None and self.progress is not None and self.progress.run == end.run:
            self.settle(segments_seq)
            self.end = end

    def settle(self, segments_seq: int | None) -> None:
        """Make the added segments visible, if the boundary after them is known."""
        if segments_seq is None:
            return
        # The boundary of a new run starts at 0; that of the earlier run holds as well, as a retry saves all again.
        upto = max(self.last.upto, segments_seq)
        if self._held:
            self.last.next = Piece(upto, self._held_run, tuple(self._held))
            self.last = self.last.next
            self._held = []
        else:
            self.last.upto = upto

    def frame(self, start: Piece, progress: Progress, segments: list[NewSegment]) -> bytes:
        """Return the event for the segments after `start`; rendered once for all readers with the same place."""
        cached = self._cache
        if cached is not None and cached[0] is start and cached[1] is self.last and cached[2] is progress:
            return cached[3]
        rendered = progress_frame(progress, segments, self.last.upto)
        self._cache = (start, self.last, progress, rendered)
        return rendered


class SmeltReader:
    """The place of one reader of a smelt, and the events that it lacks."""

    def __init__(self, last: EventId | None) -> None:
        self.is_over = False
        self._read_from = 0 if last is None else last.segments_seq
        self._has_seq = self._read_from
        self._progress: Progress | None = None
        self._log = SmeltLog()
        self._piece = self._log.last
        # Of each file the last index from own reads, which cover the segments from `_read_from` to `_has_seq`.
        self._read_run = 0
        self._read_index: dict[UUID, int] = {}

    @property
    def segments_after(self) -> int:
        """The `segments_after` of the reader's next own read."""
        return self._has_seq

    def events_of(self, snapshot: Snapshot) -> Iterator[bytes]:
        """Yield the events of the reader's own read, made with `segments_after`."""
        if snapshot.run != self._read_run:
            self._read_run, self._read_index = snapshot.run, {}
        for segment in snapshot.segments:
            self._read_index[segment.file_id] = max(segment.index, self._read_index.get(segment.file_id, 0))
        self._has_seq = max(self._has_seq, snapshot.segments_seq)
        self._progress = progress_of_snapshot(snapshot)
        self.is_over = end_of_snapshot(snapshot) is not None
        yield from frames_of_snapshot(snapshot)

    def enter(self, log: SmeltLog) -> Literal["entered", "behind", "ahead"]:
        """Continue in a log; it may be `behind` the reader for now, or `ahead`, so that the reader reads once more.

        Its boundary must lie within the own reads of the reader: then the reader knows which of the segments after the
        boundary it has.
        """
        if log.last.upto < self._read_from:
            return "behind"
        if log.last.upto > self._has_seq:
            return "ahead"
        self._log, self._piece = log, log.last
        return "entered"

    def take(self) -> bytes | None:
        """Return the events that the reader lacks: segments with the newest progress, and the end; None without any."""
        log, progress = self._log, self._newest(self._log.progress)
        if progress is None:
            return None
        start, piece, segments = self._piece, self._piece, []
        skipped = False
        while (following := piece.next) is not None:
            piece = following
            for segment in piece.segments if piece.run == progress.run else ():
                if self._has(segment, piece.run):
                    skipped = True
                else:
                    segments.append(segment)
        self._piece = piece
        if piece.upto >= self._has_seq:
            self._has_seq = self._read_from = piece.upto
            self._read_index = {}
        frame = b""
        if segments or _content(progress) != _content(self._progress):
            is_shared = not skipped and self._has_seq == log.last.upto
            frame = log.frame(start, progress, segments) if is_shared else self._own_frame(progress, segments)
        self._progress = progress
        if log.end is not None and log.end.run >= progress.run:
            self.is_over = True
            frame += end_frame(log.end, progress.attempt, self._has_seq)
        return frame or None

    def _own_frame(self, progress: Progress, segments: list[NewSegment]) -> bytes:
        return progress_frame(progress, segments, self._has_seq)

    def _has(self, segment: NewSegment, run: int) -> bool:
        return run == self._read_run and segment.index <= self._read_index.get(segment.file_id, -1)

    def _newest(self, shared: Progress | None) -> Progress | None:
        own = self._progress
        if shared is None or (own is not None and (own.run, own.seq) > (shared.run, shared.seq)):
            return own
        return shared


def _content(progress: Progress | None) -> object:
    # The contract's events contain neither the position in the queue nor whether a worker is online.
    return None if progress is None else progress.model_copy(update={"queue_position": None, "worker_online": None})

"""Merging of live events and snapshots of one smelt into a sequence of updates. Pure: no I/O, no waiting.

The resulting state does not depend on the order in which events and snapshots arrive, nor on repeated or lost events.
"""

from collections.abc import Mapping
from typing import assert_never
from uuid import UUID

from smelt.backend.client_rpc import SeenState
from smelt.contract.events import (
    CompletedEvent,
    FailedEvent,
    FileProgress,
    ProgressEvent,
    Segment,
    SegmentsEvent,
    SmeltEvent,
)
from smelt.contract.state import Snapshot, Unchanged
from smelt.contract.vocabulary import STAGES, TERMINAL_STATUSES, Status
from smelt.subscriber.transcript import Transcript
from smelt.subscriber.updates import Completed, Ending, Failed, Progress, Segments, Update


class Timeline:
    """The known state of one smelt; every `merge_*` method returns the resulting updates.

    A terminal event received live is withheld until the gap before it has been read (`needs_read`). `conclude()` emits
    it without that read, unless `ending_run` is None.
    """

    def __init__(self, smelt_id: UUID) -> None:
        self.smelt_id = smelt_id
        self.progress: Progress | None = None
        self._read_seq: int | None = None
        self.ended: Ending | None = None
        self._known_end: Ending | None = None
        self._end_is_truncated = False
        self._transcript = Transcript(run=0)

    @property
    def known(self) -> SeenState:
        """The state that the next read need not return again."""
        after_seq = None if self.needs_read else self._read_seq
        return SeenState(self.smelt_id, after_seq=after_seq, segments_after=self._transcript.read_seq)

    @property
    def needs_read(self) -> bool:
        """True if something is known to be missing that a snapshot would contain."""
        return self.ended is None and (self._known_end is not None or self._transcript.is_incomplete)

    @property
    def segments_seq(self) -> int | None:
        """The `seq` up to which all segments of the run were returned, and none after it; None if unknown."""
        return self._transcript.segments_seq

    @property
    def ending_run(self) -> int | None:
        """The run whose end is known with all of its results, while earlier updates may be missing; None otherwise."""
        if self.ended is not None or self._known_end is None or self._end_is_truncated:
            return None
        return self._known_end.run

    def merge_event(self, event: SmeltEvent) -> tuple[Update, ...]:
        """Merge a live event; return the resulting updates."""
        if not self._enter_run(event.run):
            return ()
        match event:
            case ProgressEvent():
                segments = self._segments_updates(self._transcript.add_of_files(event.segments))
                self._transcript.record_event(event.seq, event.segments, is_last=True)
                return (*segments, *self._advance(_progress_of_event(event)))
            case SegmentsEvent():
                ready = self._transcript.add(event.file_id, event.segments)
                self._transcript.record_event(event.seq, event.segments, is_last=False)
                return self._segments_updates({event.file_id: ready})
            case CompletedEvent() | FailedEvent():
                self._set_known_end(_end_of_event(event), isinstance(event, CompletedEvent) and event.results_truncated)
                return ()
            case _:
                assert_never(event)

    def merge_snapshot(self, snapshot: Snapshot, segments_after: int) -> tuple[Update, ...]:
        """Merge a snapshot that was requested with `segments_after`; return the resulting updates."""
        if not self._enter_run(snapshot.run):
            return ()
        self._read_seq = max(snapshot.seq, self._read_seq or 0)
        segments = self._segments_updates(
            self._transcript.add_stored(snapshot.segments, segments_after, snapshot.segments_seq)
        )
        end = end_of_snapshot(snapshot)
        if end is None:
            return (*self._advance(progress_of_snapshot(snapshot)), *segments)
        self._set_known_end(end, truncated=False)
        return segments if self._transcript.is_incomplete else (*segments, *self.conclude())

    def merge_unchanged(self, state: Unchanged) -> tuple[Update, ...]:
        """Merge a response without changes of the smelt itself; return the resulting updates.

        Position in the queue, message and `worker_online` may have changed: other smelts and workers determine them.
        """
        if self.ended is not None or self.progress is None:
            return ()
        position = self.progress.queue_position if state.queue_position is None else state.queue_position
        update = {
            "seq": state.seq,
            "queue_position": position,
            "message": self.progress.message if state.message is None else state.message,
            "worker_online": state.worker_online,
        }
        return self._advance(self.progress.model_copy(update=update))

    def conclude(self) -> tuple[Update, ...]:
        """Return the known end as an update; nothing if `ending_run` is None."""
        if self.ending_run is None or self._known_end is None:
            return ()
        self.ended = self._known_end
        return (self.ended,)

    def _enter_run(self, run: int) -> bool:
        if self.ended is not None or run < self._transcript.run:
            return False
        if run > self._transcript.run:
            self._transcript = Transcript(run)
            self._known_end = None
        return True

    def _segments_updates(self, ready_by_file: Mapping[UUID, tuple[Segment, ...]]) -> tuple[Segments, ...]:
        run = self._transcript.run
        return tuple(
            Segments(smelt_id=self.smelt_id, file_id=file_id, segments=ready, run=run)
            for file_id, ready in ready_by_file.items()
            if ready
        )

    def _set_known_end(self, end: Ending, truncated: bool) -> None:
        if self._known_end is None or self._end_is_truncated:
            self._known_end = end
            self._end_is_truncated = truncated

    def _advance(self, new: Progress) -> tuple[Update, ...]:
        old = self.progress
        if old is not None and old.run == new.run:
            # Other smelts and workers change these without a change of this smelt.
            has_moved = new.queue_position not in (None, old.queue_position)
            has_moved = has_moved or new.worker_online not in (None, old.worker_online)
            if new.seq < old.seq or (new.seq == old.seq and not has_moved):
                return ()
            new = _without_regression(old, new)
        self.progress = new
        return (new,)


def _without_regression(old: Progress, new: Progress) -> Progress:
    # The database guarantees these rules; another sender might violate them.
    status = max(old.status, new.status, key=_stage_number)
    percentage = max(old.percentage, new.percentage)
    waiting = new.queue_position is None and status == "pending"
    worker_online = new.worker_online
    if worker_online is None:
        # Events do not carry it. Progress implies an online worker; with the same attempt, the last value still holds.
        has_moved = (status, percentage) != (old.status, old.percentage)
        worker_online = True if has_moved else old.worker_online if new.attempt == old.attempt else None
    return new.model_copy(
        update={
            "status": status,
            "percentage": percentage,
            "queue_position": old.queue_position if waiting else new.queue_position,
            "worker_online": worker_online,
        }
    )


def _stage_number(status: Status) -> int:
    return len(STAGES) if status == "failed" else STAGES.index(status)


def _progress_of_event(event: ProgressEvent) -> Progress:
    return Progress(
        smelt_id=event.smelt_id,
        status=event.status,
        percentage=event.progress.percentage,
        message=event.progress.message,
        files=event.files,
        eta_seconds=event.eta_seconds,
        queue_position=None,
        outputs=event.outputs,
        seq=event.seq,
        run=event.run,
        attempt=event.attempt,
    )


def progress_of_snapshot(snapshot: Snapshot) -> Progress:
    """Return the state of a snapshot."""
    return Progress(
        smelt_id=snapshot.id,
        status=snapshot.status,
        percentage=snapshot.progress.percentage,
        message=snapshot.progress.message,
        files=tuple(
            FileProgress(
                id=file.id,
                status=file.status,
                progress=file.progress,
                untranscribed_seconds=(file.trust and file.trust.untranscribed_seconds) or 0.0,
            )
            for file in snapshot.files
        ),
        eta_seconds=snapshot.eta_seconds,
        queue_position=snapshot.queue_position,
        worker_online=snapshot.worker_online,
        outputs=snapshot.outputs,
        seq=snapshot.seq,
        run=snapshot.run,
        attempt=snapshot.attempt,
    )


def _end_of_event(event: CompletedEvent | FailedEvent) -> Ending:
    if isinstance(event, CompletedEvent):
        return Completed(
            smelt_id=event.smelt_id,
            outcome=event.outcome,
            results=event.results,
            completed_at=event.completed_at,
            seq=event.seq,
            run=event.run,
        )
    return Failed(
        smelt_id=event.smelt_id,
        error_code=event.error_code,
        error_message=event.error_message,
        completed_at=event.completed_at,
        seq=event.seq,
        run=event.run,
    )


def end_of_snapshot(snapshot: Snapshot) -> Ending | None:
    """Return the end of a smelt; None if it has not ended."""
    if snapshot.status not in TERMINAL_STATUSES or snapshot.completed_at is None:
        return None
    if snapshot.status == "completed":
        return Completed(
            smelt_id=snapshot.id,
            outcome=snapshot.outcome or "complete",
            results=snapshot.results or (),
            completed_at=snapshot.completed_at,
            seq=snapshot.seq,
            run=snapshot.run,
        )
    return Failed(
        smelt_id=snapshot.id,
        error_code=snapshot.error_code or "internal_error",
        error_message=snapshot.error_message or snapshot.progress.message,
        completed_at=snapshot.completed_at,
        seq=snapshot.seq,
        run=snapshot.run,
    )

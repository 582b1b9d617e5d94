"""The contract's events of a smelt, made of its states and updates. Pure."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, assert_never
from uuid import UUID, uuid4, uuid5

from smelt.contract.events import CompletedEvent, FailedEvent, NewSegment, ProgressEvent, Segment, StageProgress
from smelt.contract.state import FileSegment, Snapshot
from smelt.gateway.streams import frames
from smelt.gateway.streams.event_id import EventId
from smelt.subscriber.timeline import end_of_snapshot, progress_of_snapshot
from smelt.subscriber.updates import Completed, Ending, Failed, Progress, Segments


def frames_of_snapshot(snapshot: Snapshot) -> Iterator[bytes]:
    """Yield the events of a state that was read: its progress with the segments, and the end.

    All segments are in one event: a reader that is cut off within it discards the whole event, so that it never has
    segments that its last id does not count.
    """
    progress, end = progress_of_snapshot(snapshot), end_of_snapshot(snapshot)
    if end is None:
        yield progress_frame(progress, new_segments(snapshot.segments), snapshot.segments_seq)
        return
    if snapshot.segments:
        # The id of the end is for the end alone.
        before = EventId(snapshot.run, snapshot.seq - 1, snapshot.segments_seq)
        yield progress_frame(progress, new_segments(snapshot.segments), snapshot.segments_seq, before)
    yield end_frame(end, snapshot.attempt, snapshot.segments_seq)


def progress_frame(
    progress: Progress, segments: Iterable[NewSegment], segments_seq: int, event_id: EventId | None = None
) -> bytes:
    """Return the event `progress` with all segments up to `segments_seq` that the reader does not have."""
    payload = ProgressEvent(
        smelt_id=progress.smelt_id,
        event_id=uuid4(),
        seq=progress.seq,
        run=progress.run,
        attempt=progress.attempt,
        eta_seconds=progress.eta_seconds,
        emitted_at=datetime.now(UTC),
        status=progress.status,
        progress=StageProgress(percentage=progress.percentage, stage=progress.status, message=progress.message),
        files=progress.files,
        segments=tuple(segments),
        outputs=progress.outputs,
    )
    return frames.event(
        "progress", payload.model_dump_json(), event_id or EventId(progress.run, progress.seq, segments_seq)
    )


def end_frame(end: Ending, attempt: int, segments_seq: int) -> bytes:
    """Return the event `completed` with all results, or `failed`."""
    event_id = EventId(end.run, end.seq, segments_seq)
    envelope: dict[str, Any] = {
        "smelt_id": end.smelt_id,
        "event_id": uuid5(end.smelt_id, str(event_id)),
        "seq": end.seq,
        "run": end.run,
        "attempt": attempt,
        "emitted_at": datetime.now(UTC),
        "completed_at": end.completed_at,
    }
    payload: CompletedEvent | FailedEvent
    match end:
        case Completed():
            payload = CompletedEvent(
                **envelope,
                status="completed",
                outcome=end.outcome,
                results=end.results,
            )
        case Failed():
            payload = FailedEvent(
                **envelope,
                status="failed",
                error_code=end.error_code,
                error_message=end.error_message,
            )
        case _:
            assert_never(end)
    return frames.event(payload.status, payload.model_dump_json(), event_id)


def new_segments(segments: Iterable[FileSegment]) -> tuple[NewSegment, ...]:
    """Return the segments of a snapshot as an event contains them."""
    return tuple(_new_segment(segment.file_id, segment) for segment in segments)


def segments_of(update: Segments) -> Iterator[NewSegment]:
    """Yield the segments of an update as an event contains them."""
    return (_new_segment(update.file_id, segment) for segment in update.segments)


def _new_segment(file_id: UUID, segment: Segment) -> NewSegment:
    return NewSegment(
        file_id=file_id,
        index=segment.index,
        start=segment.start,
        end=segment.end,
        text=segment.text,
        speaker=segment.speaker,
    )

"""Random histories of smelts with their rows and events, and assertions on the updates of a watcher."""

import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from uuid import UUID, uuid4

from smelt.contract.events import (
    CompletedEvent,
    FailedEvent,
    FileProgress,
    NewSegment,
    Output,
    ProgressEvent,
    Result,
    Segment,
    SegmentsEvent,
    SmeltEvent,
    StageProgress,
)
from smelt.contract.state import FileSegment, FileState, Snapshot
from smelt.contract.vocabulary import STAGES, Status
from smelt.subscriber.updates import Completed, Failed, Progress, Segments, Update

SMELT = UUID(int=1)
FILES = (UUID(int=2), UUID(int=3))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Row:
    """The row of a smelt at one moment; segments as `(file, index) -> seq`, outputs as `(file, position) -> seq`."""

    run: int = 1
    seq: int = 1
    status: Status = "pending"
    percentage: float = 0.0
    segments: dict[tuple[UUID, int], int] = field(default_factory=dict)
    outputs: dict[tuple[UUID, int], int] = field(default_factory=dict)
    id: UUID = SMELT

    @property
    def is_terminal(self) -> bool:
        return self.status in ("completed", "failed")


@dataclass(frozen=True)
class Step:
    """A change of the row, with its event unless none was emitted."""

    row: Row
    event: SmeltEvent | None


@dataclass(frozen=True)
class History:
    """The changes of a smelt from its creation to the end of its last run."""

    steps: tuple[Step, ...]

    @property
    def rows(self) -> list[Row]:
        return [step.row for step in self.steps]

    @property
    def events(self) -> list[SmeltEvent]:
        return [step.event for step in self.steps if step.event is not None]

    def end_of(self, run: int) -> Row:
        return next(row for row in self.rows if row.run == run and row.is_terminal)


def make_history(chance: random.Random, smelt_id: UUID = SMELT) -> History:
    """Return a history of one to three runs with progress and segments; all runs but the last fail."""
    steps = [Step(Row(id=smelt_id), None)]
    run_count = chance.randint(1, 3)
    for run in range(1, run_count + 1):
        if run > 1:  # A retry keeps the transcript, with the new seq.
            before = steps[-1].row
            seq = before.seq + 1
            row = Row(run=run, seq=seq, segments=dict.fromkeys(before.segments, seq), id=smelt_id)
            steps.append(Step(row, progress_event(row)))
        for _ in range(chance.randint(0, 8)):
            kind = chance.choice(["percent", "stage", "speak", "oversized", "quiet"])
            steps.append(_step(steps[-1].row, kind, chance.randint(0, 1), chance.randint(1, 3)))
        last = steps[-1].row
        status: Status = "failed" if run < run_count else chance.choice(["completed", "failed"])
        percentage = 100.0 if status == "completed" else last.percentage
        row = replace(last, seq=last.seq + 1, status=status, percentage=percentage)
        steps.append(Step(row, end_event(row, truncated=chance.choice([True, False]))))
    return History(tuple(steps))


def _step(row: Row, kind: str, file: int, count: int) -> Step:
    row = replace(row, seq=row.seq + 1)
    if kind in ("speak", "oversized"):
        first = sum(1 for of_file, _ in row.segments if of_file == FILES[file])
        new = {(FILES[file], index): row.seq for index in range(first, first + count)}
        row = replace(row, segments=row.segments | new)
        indexes = range(first, first + count)
        event = segments_event if kind == "oversized" else progress_with_segments
        return Step(row, event(row, FILES[file], indexes))
    stage = STAGES.index(row.status)
    status = STAGES[min(stage + 1, len(STAGES) - 2)] if kind == "stage" else row.status
    row = replace(row, status=status, percentage=min(99.0, row.percentage + count))
    if status == "synthesizing":
        row = replace(row, outputs=row.outputs | {(FILES[file], count): row.seq})
    return Step(row, None if kind == "quiet" else progress_event(row))


def assert_ended(history: History, updates: list[Update]) -> Row:
    """Assert that the last update, and no other, is the end of its run; return the row of that end."""
    ends = [update for update in updates if isinstance(update, Completed | Failed)]
    assert ends == updates[-1:]
    (end,) = ends
    final = history.end_of(end.run)
    assert (end.status, end.seq) == (final.status, final.seq)
    if isinstance(end, Completed):
        assert end.results == results(final)
    return final


def assert_complete(history: History, updates: list[Update]) -> None:
    """Assert that the updates end with the complete transcript of the last run."""
    final = assert_ended(history, updates)
    assert segment_indexes(updates, final.run) == {file: list(range(n)) for file, n in lengths(final).items()}


def assert_monotonic(history: History, updates: list[Update]) -> None:
    """Assert that seq, run, stage and percentage never decrease, and that segments are in order and unique.

    The queue position and `worker_online` may change alone, since other smelts and workers change them.
    """
    progress = [update for update in updates if isinstance(update, Progress)]
    for before, after in pairwise(progress):
        is_newer = (before.run, before.seq) < (after.run, after.seq)
        of_others = {"queue_position": after.queue_position, "worker_online": after.worker_online}
        assert is_newer or before.model_copy(update=of_others) == after
        if before.run == after.run:
            assert before.percentage <= after.percentage
            assert STAGES.index(before.status) <= STAGES.index(after.status)
    for run in {row.run for row in history.rows}:
        for indexes in segment_indexes(updates, run).values():
            assert indexes == list(range(len(indexes)))


def segment_indexes(updates: list[Update], run: int) -> dict[UUID, list[int]]:
    """Return the indexes of the segments of one run by file, in the order of the updates."""
    by_file: dict[UUID, list[int]] = {}
    for update in updates:
        if isinstance(update, Segments) and update.run == run:
            assert update.segments
            by_file.setdefault(update.file_id, []).extend(segment.index for segment in update.segments)
    return by_file


def lengths(row: Row) -> dict[UUID, int]:
    return {file: n for file in FILES if (n := sum(1 for of_file, _ in row.segments if of_file == file))}


def segment(index: int) -> Segment:
    return Segment(index=index, start=index, end=index + 1, text=f"word {index}")


def progress_event(row: Row) -> ProgressEvent:
    return ProgressEvent(
        **envelope(row),
        status=row.status,
        progress=StageProgress(percentage=row.percentage, stage=row.status, message=row.status),
        files=tuple(FileProgress(id=file, status="processing", progress=row.percentage) for file in FILES),
        outputs=outputs(row),
    )


def outputs(row: Row) -> tuple[Output, ...]:
    return tuple(
        Output(file_id=file, position=position, title="Summary", content=str(seq), is_complete=position == 1)
        for (file, position), seq in row.outputs.items()
    )


def progress_with_segments(row: Row, file: UUID, indexes: range) -> ProgressEvent:
    segments = tuple(NewSegment(file_id=file, **segment(index).model_dump()) for index in indexes)
    return progress_event(row).model_copy(update={"segments": segments})


def segments_event(row: Row, file: UUID, indexes: range) -> SegmentsEvent:
    return SegmentsEvent(**envelope(row), file_id=file, segments=tuple(segment(index) for index in indexes))


def end_event(row: Row, *, truncated: bool = False) -> CompletedEvent | FailedEvent:
    if row.status == "failed":
        return FailedEvent(
            **envelope(row), status="failed", error_code="internal_error", error_message="no", completed_at=NOW
        )
    return CompletedEvent(
        **envelope(row),
        status="completed",
        outcome="complete",
        results=() if truncated else results(row),
        results_truncated=truncated,
        completed_at=NOW,
    )


def envelope(row: Row) -> dict[str, object]:
    return {
        "smelt_id": row.id,
        "event_id": uuid4(),
        "seq": row.seq,
        "run": row.run,
        "attempt": row.run,
        "emitted_at": NOW,
    }


def results(row: Row) -> tuple[Result, ...]:
    return (Result(file_id=FILES[0], filename="a.mp3", content=f"run {row.run}"),)


def snapshot(
    row: Row, segments_after: int = 0, queue_position: int | None = None, *, worker_online: bool = True
) -> Snapshot:
    return Snapshot(
        id=row.id,
        seq=row.seq,
        run=row.run,
        attempt=row.run,
        status=row.status,
        mode="separate",
        progress=StageProgress(percentage=row.percentage, stage=row.status, message=row.status),
        eta_seconds=None,
        queue_position=queue_position,
        worker_online=worker_online,
        files=tuple(
            FileState(
                id=file,
                filename="a.mp3",
                position=place,
                input_type="audio",
                size_bytes=1,
                status="processing",
                stage=row.status,
                progress=row.percentage,
            )
            for place, file in enumerate(FILES)
        ),
        segments=tuple(
            FileSegment(file_id=file, **segment(index).model_dump())
            for (file, index), seq in sorted(row.segments.items())
            if seq > segments_after
        ),
        segments_seq=row.seq,
        outputs=() if row.is_terminal else outputs(row),
        outcome="complete" if row.status == "completed" else None,
        results=results(row) if row.status == "completed" else None,
        error_code="internal_error" if row.status == "failed" else None,
        error_message="no" if row.status == "failed" else None,
        default_prompt_names=("summarize",),
        user_prompt_id=None,
        batch_id=None,
        created_at=NOW,
        submitted_at=NOW,
        started_at=NOW,
        completed_at=NOW if row.is_terminal else None,
        subscription_channel=f"smelt:{row.id}",
        next_poll_s=None if row.is_terminal else 2,
    )

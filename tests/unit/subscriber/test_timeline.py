"""Any order, duplication, loss and interleaving of what comes in tells the same story."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.backend.client_calls import Known
from smelt.contract.events import (
    CompletedEvent,
    FailedEvent,
    FileProgress,
    ProgressEvent,
    Result,
    Segment,
    SegmentsEvent,
    SmeltEvent,
    StageProgress,
)
from smelt.contract.state import FileSegment, FileState, Snapshot, Unchanged
from smelt.contract.vocabulary import STAGES, Status
from smelt.subscriber.timeline import Timeline
from smelt.subscriber.updates import Completed, Failed, Progress, Segments, Update

SMELT = UUID(int=1)
FILES = (UUID(int=2), UUID(int=3))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Row:
    """A smelt as its row stands at one moment; segments as `(file, index) -> seq`."""

    run: int = 1
    seq: int = 1
    status: Status = "pending"
    percentage: float = 0.0
    segments: dict[tuple[UUID, int], int] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        return self.status in ("completed", "failed")


def segment(index: int) -> Segment:
    return Segment(index=index, start=index, end=index + 1, text=f"word {index}")


def progress_event(row: Row) -> ProgressEvent:
    return ProgressEvent(
        **envelope(row),
        status=row.status,
        progress=StageProgress(percentage=row.percentage, stage=row.status, message=row.status),
        files=tuple(FileProgress(id=file, status="processing", progress=row.percentage) for file in FILES),
    )


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
        "smelt_id": SMELT,
        "event_id": uuid4(),
        "seq": row.seq,
        "run": row.run,
        "attempt": row.run,
        "emitted_at": NOW,
    }


def results(row: Row) -> tuple[Result, ...]:
    return (Result(file_id=FILES[0], filename="a.mp3", content=f"run {row.run}"),)


def snapshot(row: Row, segments_after: int = 0, queue_position: int | None = None) -> Snapshot:
    return Snapshot(
        id=SMELT,
        seq=row.seq,
        run=row.run,
        attempt=row.run,
        status=row.status,
        mode="separate",
        progress=StageProgress(percentage=row.percentage, stage=row.status, message=row.status),
        eta_seconds=None,
        queue_position=queue_position,
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
        completed_at=NOW if row.is_over else None,
        subscription_channel=f"smelt:{SMELT}",
        next_poll_s=None if row.is_over else 2,
    )


@dataclass(frozen=True)
class History:
    """What happened to a smelt: every row it has been, and every event that was broadcast of it."""

    rows: tuple[Row, ...]
    events: tuple[SmeltEvent, ...]


@st.composite
def histories(draw: st.DrawFn) -> History:
    """One to three runs, each but the last failed, with progress and segments between."""
    rows, events = [Row()], []
    run_count = draw(st.integers(1, 3))
    for run in range(1, run_count + 1):
        if run > 1:  # A retry takes the transcript along, under the new seq.
            seq = rows[-1].seq + 1
            rows.append(Row(run=run, seq=seq, segments=dict.fromkeys(rows[-1].segments, seq)))
            events.append(progress_event(rows[-1]))
        for step in draw(st.lists(st.sampled_from(["percent", "stage", "speak", "quiet"]), max_size=8)):
            row, event = _step(rows[-1], step, draw(st.integers(0, 1)), draw(st.integers(1, 3)))
            rows.append(row)
            events.extend([event] if event is not None else [])
        last = rows[-1]
        status: Status = "failed" if run < run_count else draw(st.sampled_from(["completed", "failed"]))
        rows.append(Row(run, last.seq + 1, status, 100.0 if status == "completed" else last.percentage, last.segments))
        events.append(end_event(rows[-1], truncated=draw(st.booleans())))
    return History(tuple(rows), tuple(events))


def _step(row: Row, step: str, file: int, count: int) -> tuple[Row, SmeltEvent | None]:
    seq = row.seq + 1
    if step == "speak":
        first = sum(1 for of_file, _ in row.segments if of_file == FILES[file])
        new = {(FILES[file], index): seq for index in range(first, first + count)}
        row = Row(row.run, seq, row.status, row.percentage, row.segments | new)
        return row, segments_event(row, FILES[file], range(first, first + count))
    stage = STAGES.index(row.status)
    status = STAGES[min(stage + 1, len(STAGES) - 2)] if step == "stage" else row.status
    row = Row(row.run, seq, status, min(99.0, row.percentage + count), row.segments)
    return row, None if step == "quiet" else progress_event(row)


Action = tuple[str, int, int]
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["event", "event", "event", "read"]), st.integers(0, 60), st.integers(0, 4)), max_size=60
)


def play(history: History, actions: list[Action]) -> tuple[Timeline, list[Update]]:
    """Deliver events and answers as told; an answer comes as many actions after its question as its lag says."""
    timeline = Timeline(SMELT)
    told: list[Update] = []
    under_way: list[tuple[int, Known, Row]] = []
    for now, (action, which, lag) in enumerate(actions):
        if action == "event" and history.events:
            told += timeline.take_event(history.events[which % len(history.events)])
        elif action == "read":
            under_way.append((now + lag, timeline.known, history.rows[which % len(history.rows)]))
        for due, known, row in [answer for answer in under_way if answer[0] <= now]:
            under_way.remove((due, known, row))
            told += answer(timeline, known, row)
    return timeline, told


def answer(timeline: Timeline, known: Known, row: Row) -> tuple[Update, ...]:
    """What the database says to somebody who knows that much."""
    if known.after_seq is not None and known.after_seq >= row.seq:
        return ()
    return timeline.take_snapshot(snapshot(row, known.segments_after or 0), known.segments_after or 0)


def read_to_the_end(timeline: Timeline, last: Row) -> list[Update]:
    told: list[Update] = []
    for _ in range(3):
        if timeline.ended is None:
            told += answer(timeline, timeline.known, last)
    return told


@given(histories(), ACTIONS)
def test_every_story_ends_once_and_whole(history: History, actions: list[Action]) -> None:
    timeline, told = play(history, actions)
    told += read_to_the_end(timeline, history.rows[-1])

    ends = [update for update in told if isinstance(update, Completed | Failed)]
    assert len(ends) == 1
    assert told[-1] is ends[0]
    end = ends[0]
    final = next(row for row in history.rows if row.run == end.run and row.is_over)
    assert end.status == final.status
    if isinstance(end, Completed):
        assert end.results == results(final)
    assert spoken(told, end.run) == {file: list(range(n)) for file, n in lengths(final).items()}


@given(histories(), ACTIONS)
def test_no_story_ever_goes_back(history: History, actions: list[Action]) -> None:
    timeline, told = play(history, actions)
    told += read_to_the_end(timeline, history.rows[-1])

    progress = [update for update in told if isinstance(update, Progress)]
    for before, after in pairwise(progress):
        assert (before.run, before.seq) < (after.run, after.seq)
        if before.run == after.run:
            assert before.percentage <= after.percentage
            assert STAGES.index(before.status) <= STAGES.index(after.status)
    for run in {row.run for row in history.rows}:
        for indexes in spoken(told, run).values():
            assert indexes == list(range(len(indexes)))


@given(histories())
def test_live_events_alone_tell_the_whole_story(history: History) -> None:
    timeline = Timeline(SMELT)
    first, *_ = history.rows
    told = list(answer(timeline, timeline.known, first))
    for event in history.events:
        told += timeline.take_event(event)
        if isinstance(event, CompletedEvent | FailedEvent):
            break
    assert timeline.wants_read
    told += timeline.conclude()
    truncated = isinstance(event, CompletedEvent) and event.results_truncated
    assert (timeline.ended is None) == truncated
    final = next(row for row in history.rows if row.run == 1 and row.is_over)
    assert spoken(told, 1) == {file: list(range(n)) for file, n in lengths(final).items()}


def spoken(told: list[Update], run: int) -> dict[UUID, list[int]]:
    """The segments that were told of one run, by file, in the order of telling."""
    by_file: dict[UUID, list[int]] = {}
    for update in told:
        if isinstance(update, Segments) and update.run == run:
            assert update.segments
            by_file.setdefault(update.file_id, []).extend(segment.index for segment in update.segments)
    return by_file


def lengths(row: Row) -> dict[UUID, int]:
    return {file: n for file in FILES if (n := sum(1 for of_file, _ in row.segments if of_file == file))}


def test_a_sender_that_goes_back_is_not_followed() -> None:
    timeline = Timeline(SMELT)
    timeline.take_event(progress_event(Row(seq=5, status="transcribing", percentage=40)))
    (update,) = timeline.take_event(progress_event(Row(seq=6, status="decoding", percentage=12)))
    assert isinstance(update, Progress)
    assert (update.status, update.percentage, update.seq) == ("transcribing", 40, 6)


def test_a_failed_progress_counts_as_the_last_stage() -> None:
    timeline = Timeline(SMELT)
    timeline.take_event(progress_event(Row(seq=5, status="transcribing", percentage=40)))
    (update,) = timeline.take_event(progress_event(Row(seq=6, status="failed", percentage=40)))
    assert isinstance(update, Progress)
    assert update.status == "failed"


def test_the_place_in_the_queue_stays_known_while_a_smelt_waits() -> None:
    timeline = Timeline(SMELT)
    timeline.take_snapshot(snapshot(Row(), queue_position=3), 0)
    (update,) = timeline.take_event(progress_event(Row(seq=2)))
    assert isinstance(update, Progress)
    assert update.queue_position == 3
    (update,) = timeline.take_event(progress_event(Row(seq=3, status="validating")))
    assert isinstance(update, Progress)
    assert update.queue_position is None


def test_a_smelt_moves_in_the_queue_without_a_change_of_its_own() -> None:
    timeline = Timeline(SMELT)
    assert timeline.take_unchanged(unchanged(seq=1, queue_position=3)) == ()
    timeline.take_snapshot(snapshot(Row(seq=2), queue_position=3), 0)
    assert timeline.take_unchanged(unchanged(seq=2, queue_position=3)) == ()
    (update,) = timeline.take_unchanged(unchanged(seq=2, queue_position=1))
    assert isinstance(update, Progress)
    assert (update.seq, update.queue_position, update.status) == (2, 1, "pending")
    (update,) = timeline.take_snapshot(snapshot(Row(seq=2), queue_position=2), 0)
    assert isinstance(update, Progress)
    assert update.queue_position == 2
    timeline.take_event(progress_event(Row(seq=3, status="validating")))
    assert timeline.take_unchanged(unchanged(seq=2, queue_position=1)) == ()
    assert timeline.take_unchanged(unchanged(seq=3)) == ()


def unchanged(seq: int, queue_position: int | None = None) -> Unchanged:
    return Unchanged(id=SMELT, seq=seq, next_poll_s=5, queue_position=queue_position)


def test_a_gap_asks_for_a_read_that_closes_it() -> None:
    timeline = Timeline(SMELT)
    row = Row(seq=4, status="transcribing", segments={(FILES[0], index): 2 + index for index in range(3)})
    timeline.take_snapshot(snapshot(Row()), 0)
    assert timeline.take_event(segments_event(row, FILES[0], range(2, 3))) == ()
    assert timeline.wants_read
    assert timeline.known == Known(SMELT, after_seq=None, segments_after=1)
    told = answer(timeline, timeline.known, row)
    assert spoken(list(told), 1) == {FILES[0]: [0, 1, 2]}
    assert not timeline.wants_read


def test_an_answer_to_a_question_from_before_a_retry_hides_nothing() -> None:
    timeline = Timeline(SMELT)
    before = Row(seq=4, status="transcribing", segments={(FILES[0], 0): 3})
    timeline.take_snapshot(snapshot(before), 0)
    retried = Row(run=2, seq=6, status="transcribing", segments={(FILES[0], 0): 6})
    timeline.take_event(progress_event(retried))
    done = Row(run=2, seq=7, status="completed", segments=retried.segments)
    late = snapshot(done, segments_after=6)
    assert timeline.take_snapshot(late, 6) == ()
    assert timeline.wants_read
    told = answer(timeline, timeline.known, done)
    assert spoken(list(told), 2) == {FILES[0]: [0]}
    assert isinstance(told[-1], Completed)


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_nothing_comes_after_the_end(status: Status) -> None:
    timeline = Timeline(SMELT)
    assert len(timeline.take_snapshot(snapshot(Row(seq=9, status=status)), 0)) == 1
    assert timeline.take_event(progress_event(Row(run=2, seq=10))) == ()
    assert timeline.take_event(end_event(Row(seq=9, status=status))) == ()
    assert timeline.take_snapshot(snapshot(Row(seq=9, status=status)), 0) == ()
    assert timeline.conclude() == ()


def test_there_is_no_end_to_conclude_before_it_is_known() -> None:
    assert Timeline(SMELT).conclude() == ()

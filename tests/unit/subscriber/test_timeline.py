"""A timeline merges events and snapshots to the same updates in any order, with duplicates and losses."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.backend.client_rpc import SeenState
from smelt.contract.events import CompletedEvent, FailedEvent
from smelt.contract.state import Unchanged
from smelt.contract.vocabulary import Status
from smelt.subscriber.timeline import Timeline
from smelt.subscriber.transcript import MAX_WHOLE_BYTES
from smelt.subscriber.updates import Completed, Progress, Update
from tests.harness.histories import (
    FILES,
    SMELT,
    History,
    Row,
    assert_complete,
    assert_monotonic,
    end_event,
    lengths,
    make_history,
    progress_event,
    progress_with_segments,
    segment_indexes,
    segments_event,
    snapshot,
)


def histories() -> st.SearchStrategy[History]:
    return st.randoms(use_true_random=False).map(make_history)


Action = tuple[str, int, int]
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["event", "event", "event", "read"]), st.integers(0, 60), st.integers(0, 4)), max_size=60
)


def play(history: History, actions: list[Action]) -> tuple[Timeline, list[Update]]:
    """Merge events and snapshots in the order of the actions; `lag` delays a snapshot by that many actions."""
    timeline = Timeline(SMELT)
    updates: list[Update] = []
    pending: list[tuple[int, SeenState, Row]] = []
    for now, (action, which, lag) in enumerate(actions):
        if action == "event" and history.events:
            updates += timeline.merge_event(history.events[which % len(history.events)])
        elif action == "read":
            pending.append((now + lag, timeline.known, history.rows[which % len(history.rows)]))
        for due, known, row in [read_state for read_state in pending if read_state[0] <= now]:
            pending.remove((due, known, row))
            updates += read_state(timeline, known, row)
    return timeline, updates


def read_state(timeline: Timeline, known: SeenState, row: Row) -> tuple[Update, ...]:
    """Merge what the database returns to a client with this `SeenState`."""
    if known.after_seq is not None and known.after_seq >= row.seq:
        return ()
    return timeline.merge_snapshot(snapshot(row, known.segments_after or 0), known.segments_after or 0)


def read_to_the_end(timeline: Timeline, last: Row) -> list[Update]:
    updates: list[Update] = []
    for _ in range(3):
        if timeline.ended is None:
            updates += read_state(timeline, timeline.known, last)
    return updates


@given(histories(), ACTIONS)
def test_timeline_merges_events_and_snapshots_in_any_order(history: History, actions: list[Action]) -> None:
    timeline, updates = play(history, actions)
    updates += read_to_the_end(timeline, history.rows[-1])
    assert_complete(history, updates)
    assert_monotonic(history, updates)


@given(histories())
def test_timeline_of_live_events_alone_is_complete(history: History) -> None:
    timeline = Timeline(SMELT)
    first, *_ = history.rows
    updates = list(read_state(timeline, timeline.known, first))
    for event in history.events:
        updates += timeline.merge_event(event)
        if isinstance(event, CompletedEvent | FailedEvent):
            break
    assert timeline.needs_read
    updates += timeline.conclude()
    truncated = isinstance(event, CompletedEvent) and event.results_truncated
    assert (timeline.ended is None) == truncated
    assert segment_indexes(updates, 1) == {file: list(range(n)) for file, n in lengths(history.end_of(1)).items()}


def test_timeline_ignores_a_lower_stage_with_a_newer_seq() -> None:
    timeline = Timeline(SMELT)
    timeline.merge_event(progress_event(Row(seq=5, status="transcribing", percentage=40)))
    (update,) = timeline.merge_event(progress_event(Row(seq=6, status="decoding", percentage=12)))
    assert isinstance(update, Progress)
    assert (update.status, update.percentage, update.seq) == ("transcribing", 40, 6)


def test_timeline_treats_failed_as_the_last_stage() -> None:
    timeline = Timeline(SMELT)
    timeline.merge_event(progress_event(Row(seq=5, status="transcribing", percentage=40)))
    (update,) = timeline.merge_event(progress_event(Row(seq=6, status="failed", percentage=40)))
    assert isinstance(update, Progress)
    assert update.status == "failed"


def test_timeline_keeps_the_queue_position_while_pending() -> None:
    timeline = Timeline(SMELT)
    timeline.merge_snapshot(snapshot(Row(), queue_position=3), 0)
    (update,) = timeline.merge_event(progress_event(Row(seq=2)))
    assert isinstance(update, Progress)
    assert update.queue_position == 3
    (update,) = timeline.merge_event(progress_event(Row(seq=3, status="validating")))
    assert isinstance(update, Progress)
    assert update.queue_position is None


def test_timeline_reports_a_change_of_the_queue_position_alone() -> None:
    timeline = Timeline(SMELT)
    assert timeline.merge_unchanged(unchanged(seq=1, queue_position=3)) == ()
    timeline.merge_snapshot(snapshot(Row(seq=2), queue_position=3), 0)
    assert timeline.merge_unchanged(unchanged(seq=2, queue_position=3)) == ()
    (update,) = timeline.merge_unchanged(unchanged(seq=2, queue_position=1))
    assert isinstance(update, Progress)
    assert (update.seq, update.queue_position, update.status) == (2, 1, "pending")
    (update,) = timeline.merge_snapshot(snapshot(Row(seq=2), queue_position=2), 0)
    assert isinstance(update, Progress)
    assert update.queue_position == 2
    timeline.merge_event(progress_event(Row(seq=3, status="validating")))
    assert timeline.merge_unchanged(unchanged(seq=2, queue_position=1)) == ()
    assert timeline.merge_unchanged(unchanged(seq=3)) == ()


def unchanged(seq: int, queue_position: int | None = None, *, worker_online: bool = True) -> Unchanged:
    return Unchanged(id=SMELT, seq=seq, next_poll_s=5, queue_position=queue_position, worker_online=worker_online)


def online(updates: tuple[Update, ...]) -> list[bool | None]:
    return [update.worker_online for update in updates if isinstance(update, Progress)]


def test_worker_online_follows_reads_without_a_change_of_the_smelt() -> None:
    timeline = Timeline(SMELT)
    row = Row(seq=2, status="transcribing", percentage=40)
    assert online(timeline.merge_snapshot(snapshot(row, worker_online=False), 0)) == [False]
    assert timeline.merge_unchanged(unchanged(seq=2, worker_online=False)) == ()
    assert online(timeline.merge_unchanged(unchanged(seq=2))) == [True]
    assert online(timeline.merge_unchanged(unchanged(seq=2, worker_online=False))) == [False]
    assert online(timeline.merge_snapshot(snapshot(row), 0)) == [True]
    timeline.merge_event(progress_event(replace(row, seq=3)))
    assert timeline.merge_unchanged(unchanged(seq=2, worker_online=False)) == ()


def test_worker_online_of_an_event_is_true_on_progress_and_unknown_after_a_new_attempt() -> None:
    timeline = Timeline(SMELT)
    row = Row(seq=1, status="transcribing", percentage=40)
    assert online(timeline.merge_event(progress_event(row))) == [None]
    timeline.merge_snapshot(snapshot(row, worker_online=False), 0)
    assert online(timeline.merge_event(progress_event(replace(row, seq=2)))) == [False]
    assert online(timeline.merge_event(progress_event(replace(row, seq=3, percentage=41)))) == [True]
    released = progress_event(replace(row, seq=4)).model_copy(update={"attempt": 2})
    assert online(timeline.merge_event(released)) == [None]
    assert online(timeline.merge_unchanged(unchanged(seq=4, worker_online=False))) == [False]


def test_timeline_gap_requests_a_read_that_fills_it() -> None:
    timeline = Timeline(SMELT)
    row = Row(seq=4, status="transcribing", segments={(FILES[0], index): 2 + index for index in range(3)})
    timeline.merge_snapshot(snapshot(Row()), 0)
    assert timeline.merge_event(segments_event(row, FILES[0], range(2, 3))) == ()
    assert timeline.needs_read
    assert timeline.known == SeenState(SMELT, after_seq=None, segments_after=1)
    updates = read_state(timeline, timeline.known, row)
    assert segment_indexes(list(updates), 1) == {FILES[0]: [0, 1, 2]}
    assert not timeline.needs_read


def test_segments_seq_advances_with_events_without_a_gap_and_is_unknown_after_one() -> None:
    timeline = Timeline(SMELT)
    timeline.merge_snapshot(snapshot(Row(seq=3)), 0)
    assert timeline.segments_seq == 3
    timeline.merge_event(progress_with_segments(Row(seq=4), FILES[0], range(1)))
    assert timeline.segments_seq == 4
    timeline.merge_event(progress_event(Row(seq=6)))  # Another event may have had segments.
    assert timeline.segments_seq == 4
    timeline.merge_event(progress_with_segments(Row(seq=7), FILES[0], range(1, 2)))
    assert timeline.segments_seq is None
    row = Row(seq=7, segments={(FILES[0], 0): 4, (FILES[1], 0): 5, (FILES[0], 1): 7})
    assert segment_indexes(list(read_state(timeline, timeline.known, row)), 1) == {FILES[1]: [0]}
    assert timeline.segments_seq == 7


def test_segments_seq_is_unknown_if_a_report_may_have_had_further_events() -> None:
    timeline = Timeline(SMELT)
    timeline.merge_snapshot(snapshot(Row(seq=3)), 0)
    large = progress_with_segments(Row(seq=4), FILES[0], range(1))
    text = "x" * MAX_WHOLE_BYTES
    timeline.merge_event(large.model_copy(update={"segments": (large.segments[0].model_copy(update={"text": text}),)}))
    assert timeline.segments_seq is None
    timeline = Timeline(SMELT)
    timeline.merge_snapshot(snapshot(Row(seq=3)), 0)
    timeline.merge_event(segments_event(Row(seq=4), FILES[0], range(1)))
    timeline.merge_event(progress_event(Row(seq=4)))
    assert timeline.segments_seq is None


def test_timeline_requests_only_state_newer_than_the_snapshot() -> None:
    timeline = Timeline(SMELT)
    assert timeline.known == SeenState(SMELT, after_seq=None, segments_after=0)
    row = Row(seq=4, status="transcribing", segments={(FILES[0], 0): 3})
    timeline.merge_snapshot(snapshot(row), 0)
    assert timeline.known == SeenState(SMELT, after_seq=4, segments_after=4)


def test_snapshot_requested_before_a_retry_is_read_again() -> None:
    timeline = Timeline(SMELT)
    before = Row(seq=4, status="transcribing", segments={(FILES[0], 0): 3})
    timeline.merge_snapshot(snapshot(before), 0)
    retried = Row(run=2, seq=6, status="transcribing", segments={(FILES[0], 0): 6})
    timeline.merge_event(progress_event(retried))
    done = Row(run=2, seq=7, status="completed", segments=retried.segments)
    late = snapshot(done, segments_after=6)
    assert timeline.merge_snapshot(late, 6) == ()
    assert timeline.needs_read
    updates = read_state(timeline, timeline.known, done)
    assert segment_indexes(list(updates), 2) == {FILES[0]: [0]}
    assert isinstance(updates[-1], Completed)


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_timeline_emits_nothing_after_the_end(status: Status) -> None:
    timeline = Timeline(SMELT)
    assert len(timeline.merge_snapshot(snapshot(Row(seq=9, status=status)), 0)) == 1
    assert timeline.merge_event(progress_event(Row(run=2, seq=10))) == ()
    assert timeline.merge_event(end_event(Row(seq=9, status=status))) == ()
    assert timeline.merge_snapshot(snapshot(Row(seq=9, status=status)), 0) == ()
    assert timeline.conclude() == ()


def test_timeline_concludes_nothing_before_the_end() -> None:
    assert Timeline(SMELT).conclude() == ()

"""The backlog of a slow consumer keeps the newest state, every stage and every segment."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from smelt.contract.events import Segment
from smelt.contract.vocabulary import STAGES, Status
from smelt.errors import Unavailable
from smelt.subscriber.backlog import Backlog, Item
from smelt.subscriber.updates import Connected, ConnectionIssue, Disconnected, Failed, Progress, Segments

SMELT = UUID(int=1)


def progress(status: Status, seq: int, run: int = 1) -> Progress:
    return Progress(
        smelt_id=SMELT,
        status=status,
        percentage=seq,
        message="",
        files=(),
        eta_seconds=None,
        queue_position=None,
        seq=seq,
        run=run,
        attempt=1,
    )


def segments(file: int, first: int, count: int = 1, run: int = 1) -> Segments:
    numbered = tuple(Segment(index=index, start=0, end=1, text="") for index in range(first, first + count))
    return Segments(smelt_id=SMELT, file_id=UUID(int=file), segments=numbered, run=run)


def drain(backlog: Backlog) -> list[Item]:
    items = []
    while (item := backlog.pop()) is not None:
        items.append(item)
    return items


def test_backlog_delivers_every_item_to_a_fast_consumer() -> None:
    backlog = Backlog()
    for item in (progress("decoding", 1), progress("decoding", 2), segments(1, 0), segments(1, 1)):
        backlog.add(item)
        assert backlog.pop() is item
    assert backlog.pop() is None


def test_backlog_coalesces_progress_of_the_same_stage() -> None:
    backlog = Backlog()
    for item in (progress("decoding", 1), progress("transcribing", 2), progress("transcribing", 3)):
        backlog.add(item)
    assert drain(backlog) == [progress("decoding", 1), progress("transcribing", 3)]


def test_backlog_keeps_the_same_stage_of_another_run() -> None:
    backlog = Backlog()
    for item in (progress("pending", 1), progress("pending", 2, run=2)):
        backlog.add(item)
    assert len(backlog) == 2


def test_backlog_merges_segments_of_one_file() -> None:
    backlog = Backlog()
    for item in (segments(1, 0, 2), segments(2, 0), segments(1, 2), segments(1, 0, run=2)):
        backlog.add(item)
    assert drain(backlog) == [segments(2, 0), segments(1, 0, 3), segments(1, 0, run=2)]


def test_backlog_keeps_only_the_newest_signal_of_a_kind() -> None:
    first, second = ConnectionIssue(Unavailable("one")), ConnectionIssue(Unavailable("two"))
    backlog = Backlog()
    for item in (Connected(), first, Disconnected(), second, Connected()):
        backlog.add(item)
    assert drain(backlog) == [second, Connected()]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("progress"), st.sampled_from(STAGES)),
            st.tuples(st.just("segments"), st.sampled_from([1, 2])),
            st.tuples(st.just("pop"), st.none()),
        ),
        max_size=200,
    )
)
def test_backlog_is_bounded_and_loses_no_stage_or_segment(actions: list[tuple[str, object]]) -> None:
    backlog, popped, given_segments, given_stages = Backlog(), [], {1: 0, 2: 0}, set()
    stage = 0
    for seq, (action, which) in enumerate(actions):
        if action == "progress":
            stage = max(stage, STAGES.index(which))
            given_stages.add(STAGES[stage])
            backlog.add(progress(STAGES[stage], seq))
        elif action == "segments":
            backlog.add(segments(which, given_segments[which]))
            given_segments[which] += 1
        elif (item := backlog.pop()) is not None:
            popped.append(item)
        assert len(backlog) <= len(STAGES) + 2
    popped += drain(backlog)
    assert {item.status for item in popped if isinstance(item, Progress)} == given_stages
    for file, count in given_segments.items():
        indexes = [
            s.index for item in popped if isinstance(item, Segments) and item.file_id.int == file for s in item.segments
        ]
        assert indexes == list(range(count))


def test_backlog_keeps_progress_before_a_terminal_update() -> None:
    backlog = Backlog()
    end = Failed(
        smelt_id=SMELT, error_code="cancelled", error_message="", completed_at="2026-01-01T00:00:00Z", seq=2, run=1
    )
    backlog.add(progress("pending", 1))
    backlog.add(end)
    assert drain(backlog) == [progress("pending", 1), end]

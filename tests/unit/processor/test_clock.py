"""Sound is placed at its time, unless that time can't be true."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.processor.media.clock import Clock, OtherStreams, merged


def placed(clock: Clock, times_s: list[float | None], seconds: float = 1.0) -> list[float]:
    """Return the gaps before frames at these times."""
    gaps = []
    for time_s in times_s:
        gaps.append(clock.gap_before(time_s))
        clock.advance(gaps[-1] + seconds)
    return gaps


def clock(*, max_s: float = 1000.0, max_gap_s: float = 1000.0, origin_s: float = 0.0) -> Clock:
    made = Clock(max_s=max_s, max_gap_s=max_gap_s)
    made.start(origin_s)
    return made


def test_gap_is_filled_up_to_the_time_of_the_frame() -> None:
    made = clock()
    assert placed(made, [0, 1, 12, 13]) == [0, 0, 10, 0]
    assert (made.position_s, made.jumps, made.max_filled_gap_s) == (14, 0, 10)


def test_jitter_inserts_nothing() -> None:
    assert placed(clock(), [0, 1.04, 1.99, 3.05, 4]) == [0, 0, 0, 0, 0]


def test_drift_is_filled_once_it_exceeds_the_tolerance() -> None:
    gaps = placed(clock(), [n * 1.02 for n in range(101)])
    assert sum(gaps) == pytest.approx(101 * 0.02, abs=0.06)
    assert max(gaps) < 0.07


def test_overlap_keeps_all_sound_and_reduces_the_next_gap() -> None:
    made = clock()
    assert placed(made, [0, 0.5, 1.0, 10.0]) == [0, 0, 0, 7.0]
    assert made.jumps == 0


def test_step_back_starts_another_clock_at_the_position() -> None:
    made = clock()
    assert placed(made, [0, 1, 2, 0, 1, 5]) == [0, 0, 0, 0, 0, 3]
    assert made.jumps == 1


def test_jump_beyond_the_maximum_duration_is_not_filled() -> None:
    made = clock(max_s=100)
    assert placed(made, [0, 500, 501, 512]) == [0, 0, 0, 10]
    assert made.jumps == 1


def test_jump_beyond_the_maximum_gap_is_not_filled() -> None:
    made = clock(max_gap_s=5)
    assert placed(made, [0, 6, 20, 21, 27]) == [0, 5, 0, 0, 5]
    assert made.jumps == 1


def test_frame_without_a_time_follows_the_one_before() -> None:
    made = Clock(max_s=100, max_gap_s=100)
    assert placed(made, [None, 50]) == [0, 0]
    assert not made.started
    made.start(0)
    assert placed(made, [None, 5]) == [0, 2]


def test_restart_forgets_the_clock_but_not_the_position() -> None:
    made = clock(origin_s=7)
    placed(made, [7])
    assert made.position_of(10) == 3
    made.restart()
    assert not made.started
    assert made.position_of(10) == 10
    assert made.position_s == 1


def test_damaged_packet_counts_only_after_the_position() -> None:
    made = Clock(max_s=100, max_gap_s=100)
    assert made.remaining(3, 2) == 2
    made.start(0)
    made.advance(4)
    assert made.remaining(None, 2) == 2
    assert made.remaining(3, 2) == 1
    assert made.remaining(0, 2) == 0
    assert made.remaining(4, 2) == 2


@given(st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), max_size=50))
def test_position_never_exceeds_the_maximum_by_silence(times_s: list[float | None]) -> None:
    made = clock(max_s=100)
    for time_s in times_s:
        gap_s = made.gap_before(time_s)
        assert gap_s >= 0
        assert not gap_s or made.position_s + gap_s <= 100 + 1e-6
        made.advance(gap_s + 0.02)


def others(*times_s: float) -> OtherStreams:
    made = OtherStreams()
    for time_s in times_s:
        made.add(time_s)
    return made


@pytest.mark.parametrize(
    ("times_s", "sound_s", "origin_s"),
    [
        ((), 3600, 3600),
        ((0, 5, 14), 15, 0),
        ((3600, 3601), 3600.5, 3600),
        ((3600,), 3599, 3599),
        ((0, 14), 3600, 3600),
        ((5, 0), 30, 0),
    ],
)
def test_recording_starts_with_its_earliest_stream(times_s: tuple[float, ...], sound_s: float, origin_s: float) -> None:
    assert others(*times_s).origin_s(sound_s) == origin_s


def test_merged_intervals_close_short_distances() -> None:
    assert merged([(0, 1), (1.2, 2), (1.5, 1.8), (5, 6)]) == ((0, 2), (5, 6))
    assert merged([]) == ()


def test_merged_intervals_are_bounded() -> None:
    many = [(n * 2.0, n * 2.0 + 0.1) for n in range(10_000)]
    result = merged(many)
    assert len(result) <= 100
    assert (result[0][0], result[-1][1]) == (0, many[-1][1])

"""Windows of speech, clusters of voices, and the turns of speakers."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from smelt.processor.speakers.clusters import cluster
from smelt.processor.speakers.turns import WINDOW_S, Turn, speaker_at, turns, windows


@st.composite
def clips_of_speech(draw: st.DrawFn) -> list[tuple[float, float]]:
    """Return clips in order, from short to long, with and without a pause between."""
    clips: list[tuple[float, float]] = []
    at_s = 0.0
    for pause_s, length_s in draw(st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.05, 20.0)), max_size=8)):
        clips.append((at_s + pause_s, at_s + pause_s + length_s))
        at_s += pause_s + length_s
    return clips


@given(clips_of_speech())
def test_windows_cover_each_clip_and_do_not_leave_it(clips: list[tuple[float, float]]) -> None:
    spoken = windows(clips)
    for place, (start, end) in enumerate(clips):
        inside = [window for window in spoken if window.clip == place]
        assert inside[0].start == pytest.approx(start)
        assert inside[-1].end == pytest.approx(end)
        assert all(start - 1e-6 <= one.start < one.end <= end + 1e-6 for one in inside)
        assert all(one.end - one.start <= WINDOW_S + 1e-6 for one in inside)
        assert all(after.start <= before.end for before, after in pairwise(inside))


@given(clips_of_speech(), st.data())
def test_turns_are_in_order_and_contain_all_speech(clips: list[tuple[float, float]], data: st.DataObject) -> None:
    spoken = windows(clips)
    found = turns(clips, spoken, [data.draw(st.sampled_from([3, 7])) for _ in spoken])
    assert all(turn.start < turn.end for turn in found)
    assert all(before.end <= after.start + 1e-6 for before, after in pairwise(found))
    assert not found or found[0].speaker == 1
    for start, end in clips:
        assert sum(max(0.0, min(end, t.end) - max(start, t.start)) for t in found) == pytest.approx(end - start)


def test_turn_changes_halfway_between_windows_of_two_speakers() -> None:
    spoken = windows([(0.0, 6.0)])
    [first, second] = turns([(0.0, 6.0)], spoken, [5 if one.middle < 3 else 2 for one in spoken])
    assert (first.speaker, second.speaker) == (1, 2)
    assert first.end == second.start == pytest.approx(3.0, abs=0.75)


def test_turn_goes_on_after_a_short_pause_of_the_same_speaker() -> None:
    clips = [(1.0, 2.0), (3.0, 4.0), (6.0, 7.0)]
    found = turns(clips, windows(clips), [0, 0, 0])
    assert [(round(turn.start, 2), round(turn.end, 2)) for turn in found] == [(0.8, 4.2), (5.8, 7.2)]


def test_speaker_of_a_segment_is_the_one_with_most_time_else_the_nearest() -> None:
    found = [Turn(0.0, 2.0, 1), Turn(2.0, 5.0, 2)]
    assert speaker_at(found, 1.0, 2.5) == 1
    assert speaker_at(found, 1.5, 4.0) == 2
    assert speaker_at(found, 9.0, 10.0) == 2
    assert speaker_at([], 0.0, 1.0) is None


def voices(*counts: int) -> NDArray[np.float32]:
    """Return vectors of length 1 around one direction for each count."""
    random = np.random.default_rng(1)
    vectors = np.concatenate(
        [np.eye(16)[place] + random.normal(0, 0.05, (count, 16)) for place, count in enumerate(counts)]
    )
    normed: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return normed


@pytest.mark.parametrize("counts", [(1,), (2,), (5,), (40, 40), (10, 200, 30), (9000, 4000)])
def test_clusters_are_the_voices(counts: tuple[int, ...]) -> None:
    found = cluster(voices(*counts))
    groups = np.split(np.array(found.labels), np.cumsum(counts)[:-1])
    assert [len(set(group.tolist())) for group in groups] == [1] * len(counts)
    assert len(set(found.labels)) == len(counts)
    assert found.uncertain == 0


def test_cluster_of_few_windows_is_no_speaker() -> None:
    assert len(set(cluster(voices(100, 2)).labels)) == 1


def test_windows_between_two_voices_are_uncertain() -> None:
    both = voices(20, 20)
    between = both[:2] + both[20:22]
    between /= np.linalg.norm(between, axis=1, keepdims=True)
    assert cluster(np.concatenate([both, between])).uncertain == pytest.approx(2 / 42)

"""The tokens of a window are split into segments at its timestamps, by the rules of OpenAI's Whisper."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.processor.speech.tokens import TokenSegment, split_at_timestamps, without_repetition

BEGIN = 1000


def at(seconds: float) -> int:
    return BEGIN + round(seconds / 0.02)


def split(tokens: list[int], window_s: float = 30.0) -> tuple[list[tuple[float, float, tuple[int, ...]]], float]:
    segments, end_s = split_at_timestamps(tokens, timestamp_begin=BEGIN, tick_s=0.02, window_s=window_s)
    texts = [tuple(token for token in segment.tokens if token < BEGIN) for segment in segments]
    return [(s.start_s, s.end_s, text) for s, text in zip(segments, texts, strict=True)], end_s


@pytest.mark.parametrize(
    ("tokens", "segments", "end_s"),
    [
        pytest.param([], [(0, 30, ())], 30, id="no token"),
        pytest.param([1, 2], [(0, 30, (1, 2))], 30, id="no timestamp"),
        pytest.param([at(1), 1, at(8)], [(1, 8, (1,))], 30, id="one segment"),
        pytest.param([at(1), 1], [(1, 30, (1,))], 30, id="one segment without an end"),
        pytest.param([at(4), 1, at(4)], [(0, 30, (1,))], 30, id="one segment of no length"),
        pytest.param(
            [at(0), 1, at(2), at(3), 2, at(5)], [(0, 2, (1,)), (3, 5, (2,))], 30, id="nothing follows the last one"
        ),
        pytest.param(
            [at(0), 1, at(2), at(3), 2, 3], [(0, 2, (1,))], 2, id="text that continues beyond the window is dropped"
        ),
        pytest.param(
            [at(0), 1, at(2), at(2), 2, at(5), at(5)], [(0, 2, (1,)), (2, 5, (2,))], 5, id="the next one starts here"
        ),
        pytest.param([1, at(2), at(2), 2, at(40)], [(0, 2, (1,)), (2, 30, (2,))], 30, id="end beyond the window"),
    ],
)
def test_timestamps_split_a_window(
    tokens: list[int], segments: list[tuple[float, float, tuple[int, ...]]], end_s: float
) -> None:
    assert split(tokens) == (segments, end_s)


@given(st.lists(st.one_of(st.integers(0, 99), st.integers(BEGIN, BEGIN + 1500)), max_size=40), st.floats(0.1, 30))
def test_timestamps_split_any_tokens_into_segments_inside_the_window(tokens: list[int], window_s: float) -> None:
    segments, end_s = split(tokens, window_s)
    assert 0 <= end_s <= window_s
    assert all(0 <= start_s <= window_s and 0 <= stop_s <= window_s for start_s, stop_s, _ in segments)
    found = [token for _, _, text in segments for token in text]
    assert found == [token for token in tokens if token < BEGIN][: len(found)]


def marked(start_s: float, end_s: float, *text: int) -> TokenSegment:
    return TokenSegment(start_s, end_s, (at(start_s), *text, at(end_s)))


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        pytest.param(marked(6.0, 7.0, *range(2, 24)), [(20, 21, 22, 23)], id="sentence again, and its rest"),
        pytest.param(marked(6.0, 7.0, *range(5, 20)), [], id="end of the sentence again"),
        pytest.param(marked(6.0, 14.0, *range(2, 20)), [tuple(range(2, 20))], id="spoken twice"),
        pytest.param(marked(6.0, 7.0, 30, *range(2, 24)), [(30, *range(2, 24))], id="other words"),
    ],
)
def test_words_before_a_continuation_are_not_repeated_faster_than_speech(
    after: TokenSegment, kept: list[tuple[int, ...]]
) -> None:
    before = [marked(0.0, 2.0, *range(2, 10)), marked(2.0, 6.0, *range(10, 20))]
    following = marked(14.0, 15.0, 40)
    found = without_repetition(before, [after, following], timestamp_begin=BEGIN)
    assert [tuple(token for token in one.tokens if token < BEGIN) for one in found] == [*kept, (40,)]

"""Spans are bounded, cover the recording once, end in quiet places, and depend only on their start."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.processor.media.recording import SAMPLE_RATE, Recording
from smelt.processor.speech.spans import Span, quietest, span_from


def recording_of(samples: np.ndarray, folder: Path) -> Recording:
    path = folder / "made.pcm"
    path.write_bytes((samples * 32767).astype(np.int16).tobytes())
    return Recording(path, len(samples))


def spans_of(recording: Recording, max_span_s: float, start: int = 0) -> list[Span]:
    spans = []
    while start < recording.sample_count:
        spans.append(span_from(recording, start, max_span_s))
        start = spans[-1].end
    return spans


def test_spans_cover_the_recording_and_are_reproducible(standup: Recording) -> None:
    spans = spans_of(standup, 15)
    assert spans[0].start == 0
    assert spans[-1].end == standup.sample_count
    assert all(before.end == after.start for before, after in pairwise(spans))
    assert all(0 < span.end - span.start <= 15 * SAMPLE_RATE for span in spans)
    for number, span in enumerate(spans):
        assert spans_of(standup, 15, span.start) == spans[number:]


def test_span_of_a_short_recording_covers_it(standup: Recording) -> None:
    assert spans_of(standup, 600) == [Span(0, standup.sample_count)]


def test_span_ends_in_a_pause(tmp_path: Path) -> None:
    noise = np.random.default_rng(3).uniform(-0.5, 0.5, 20 * SAMPLE_RATE)
    noise[int(8.7 * SAMPLE_RATE) : int(9.3 * SAMPLE_RATE)] *= 0.001
    first = span_from(recording_of(noise, tmp_path), 0, 10)
    assert first.end / SAMPLE_RATE == pytest.approx(9.0, abs=0.1)


def test_span_of_digital_silence_ends_late(tmp_path: Path) -> None:
    silence = recording_of(np.zeros(25 * SAMPLE_RATE), tmp_path)
    assert span_from(silence, 0, 10).end / SAMPLE_RATE == pytest.approx(9.8, abs=0.05)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=60), st.integers(0, 319))
def test_span_cut_is_inside_the_samples(levels: list[float], odd: int) -> None:
    samples = np.repeat(np.array(levels, dtype=np.float32), 320)[: len(levels) * 320 - odd]
    cut = quietest(samples)
    assert 0 < cut <= len(samples)


@given(st.integers(0, 80), st.integers(22, 30))
def test_span_cut_is_at_the_quietest_place(before: int, quiet: int) -> None:
    levels = np.concatenate([np.full(before, 0.5), np.zeros(quiet), np.full(40, 0.5)]).astype(np.float32)
    cut = quietest(np.repeat(levels, 320)) // 320
    assert before <= cut - 10
    assert cut + 10 <= before + quiet

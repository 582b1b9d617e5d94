"""Speech is found at any loudness, and its times are mapped back to the span, never into a removed pause."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.contract.state import Word
from smelt.processor.media.recording import SAMPLE_RATE, Recording, Samples
from smelt.processor.speech.decoder import WindowSegment, split_at_pauses
from smelt.processor.speech.vad import Clip, SpeechAudio, amplified, find_speech, merged, padded, speech_s


def audio(*clips_s: tuple[float, float], total_s: float = 200, padding_s: float = 0) -> SpeechAudio:
    clips, voiced = (
        [Clip(round((start + inner) * SAMPLE_RATE), round((end - inner) * SAMPLE_RATE)) for start, end in clips_s]
        for inner in (0, padding_s)
    )
    return SpeechAudio(np.zeros(round(total_s * SAMPLE_RATE), dtype=np.float32), voiced, clips)


@pytest.mark.parametrize("volume", [1.0, 0.004, 0.0005])
def test_quiet_speech_is_found_as_loud_speech_is(volume: float, standup: Recording) -> None:
    samples = standup.read(0, 30 * SAMPLE_RATE)
    quiet: Samples = np.round(samples * volume * 32768).astype(np.float32) / 32768
    loud_s = speech_s(find_speech(amplified(samples)).clips)
    assert speech_s(find_speech(amplified(quiet)).clips) == pytest.approx(loud_s, rel=0.03)


def test_loud_samples_and_silence_are_not_amplified() -> None:
    for level in (0.0, 0.5):
        samples = np.full(SAMPLE_RATE, level, dtype=np.float32)
        assert amplified(samples) is samples
    assert len(amplified(np.zeros(0, dtype=np.float32))) == 0


@pytest.mark.parametrize("level", [0.0001, 0.001, 0.01])
def test_quiet_noise_has_no_speech(level: float) -> None:
    noise = np.random.default_rng(1).normal(0, level, 20 * SAMPLE_RATE).astype(np.float32)
    assert find_speech(amplified(noise)).clips == []


def test_segment_that_starts_at_the_end_of_a_clip_belongs_to_the_next() -> None:
    speech = audio((9, 61), (101, 115), padding_s=0.4)
    # 0.6 s of the other clip, of which 0.2 s are speech.
    assert speech.span_times(51.4, 58) == pytest.approx((101, 107))
    assert speech.span_times(45, 52.6) == pytest.approx((54, 61))
    assert speech.span_times(51.2, 58) == pytest.approx((60.2, 107))
    assert speech.span_times(50, 51) == pytest.approx((59, 60))
    # A segment with much text on both sides covers the pause.
    assert speech.span_times(48, 58) == pytest.approx((57, 107))
    assert speech.word_times(51.9, 52.3) == pytest.approx((101, 101.3))
    assert speech.word_times(51.6, 52.2) == pytest.approx((60.6, 61))


@given(st.lists(st.tuples(st.floats(0.1, 5), st.floats(0, 5)), min_size=1, max_size=8), st.data())
def test_segment_times_are_inside_clips_and_in_order(lengths: list[tuple[float, float]], data: st.DataObject) -> None:
    clips, position = [], 0.0
    for length_s, pause_s in lengths:
        clips.append((position, position + length_s))
        position += length_s + pause_s
    speech = audio(*clips)
    total_s = len(speech.samples) / SAMPLE_RATE
    start_s = data.draw(st.floats(0, total_s - 0.05))
    end_s = data.draw(st.floats(start_s + 0.02, total_s))
    start, end = speech.span_times(start_s, end_s)
    assert start <= end
    assert end - start >= min(end_s - start_s, 0.02) / 2 - 1e-4
    for time_s in (start, end, *speech.word_times(start_s, end_s)):
        assert any(clip.start - 1 <= time_s * SAMPLE_RATE <= clip.end + 1 for clip in speech.clips)


def test_removed_pauses_are_known_in_the_speech() -> None:
    speech = audio((0, 10), (10.5, 20), (25, 30))
    assert [pause / SAMPLE_RATE for pause in speech.pauses] == [19.5]
    assert [(clip.start / SAMPLE_RATE, clip.end / SAMPLE_RATE) for clip in speech.voiced] == [
        (0, 10),
        (10, 19.5),
        (19.5, 24.5),
    ]
    assert speech.span_position(len(speech.samples)) == 30 * SAMPLE_RATE
    assert audio().span_position(0) == 0


def segment_of(start_s: float, end_s: float, *words: tuple[str, float, float]) -> WindowSegment:
    return WindowSegment(
        start_s=start_s,
        end_s=end_s,
        text=" ".join(text for text, _, _ in words),
        avg_logprob=0,
        no_speech_prob=0,
        compression_ratio=1,
        words=tuple(Word(word=f" {text}", start=start, end=end, probability=1.0) for text, start, end in words),
    )


def test_segment_is_split_at_a_removed_pause_between_its_words() -> None:
    segment = segment_of(0.8, 4.5, ("one", 1.0, 2.0), ("two", 2.0, 2.8), ("three", 2.9, 4.0))
    first, second = split_at_pauses(segment, [3.0])
    assert (first.text, first.start_s, first.end_s) == ("one two", 0.8, 2.8)
    assert (second.text, second.start_s, second.end_s) == ("three", 2.9, 4.5)
    assert split_at_pauses(segment, [9.0])[0].text == "one two three"
    assert len(split_at_pauses(segment, [])) == 1


def test_segment_whose_words_are_on_one_side_of_a_pause_does_not_reach_over_it() -> None:
    [late] = split_at_pauses(segment_of(1.0, 9.0, ("I", 4.7, 5.0), ("lay", 5.2, 6.0)), [5.0])
    assert (late.text, late.start_s, late.end_s) == ("I lay", 4.7, 9.0)
    [early] = split_at_pauses(segment_of(1.0, 9.0, ("steady", 1.0, 2.0), ("jog.", 2.0, 4.4)), [5.0])
    assert (early.text, early.start_s, early.end_s) == ("steady jog.", 1.0, 4.4)


def test_cuts_are_in_pauses_and_at_most_a_window_apart(standup: Recording) -> None:
    speech = find_speech(standup.read(0, standup.sample_count), max_clip_s=10)
    for max_s in (10, 4):
        cuts = [*speech.cuts(max_s * SAMPLE_RATE), len(speech.samples)]
        assert all(0 < after - before <= max_s * SAMPLE_RATE for before, after in pairwise(cuts))
    edges = {0, len(speech.samples), *np.cumsum([clip.end - clip.start for clip in speech.clips]).tolist()}
    assert set(speech.cuts(10 * SAMPLE_RATE)) <= edges


def test_clips_are_merged_and_padded_without_overlap() -> None:
    assert merged([Clip(0, 4), Clip(5, 9), Clip(11, 13)], 2) == [Clip(0, 9), Clip(11, 13)]
    assert merged([], 2) == padded([], 10) == []
    s = SAMPLE_RATE
    assert padded([Clip(s, 2 * s), Clip(2 * s + 100, 3 * s), Clip(5 * s, 6 * s)], 6 * s) == [
        Clip(s * 6 // 10, 2 * s + 50),
        Clip(2 * s + 50, s * 34 // 10),
        Clip(s * 46 // 10, 6 * s),
    ]


def test_speech_before_a_sample_has_the_clips_before_it() -> None:
    speech = audio((0, 10), (20, 30), (40, 50))
    at_pause, in_clip = speech.before(20 * SAMPLE_RATE), speech.before(15 * SAMPLE_RATE)
    assert at_pause.clips == [Clip(0, 10 * SAMPLE_RATE), Clip(20 * SAMPLE_RATE, 30 * SAMPLE_RATE)]
    assert at_pause.voiced == [Clip(0, 10 * SAMPLE_RATE), Clip(10 * SAMPLE_RATE, 20 * SAMPLE_RATE)]
    assert in_clip.clips == [Clip(0, 10 * SAMPLE_RATE), Clip(20 * SAMPLE_RATE, 25 * SAMPLE_RATE)]
    assert [len(one.samples) for one in (at_pause, in_clip)] == [20 * SAMPLE_RATE, 15 * SAMPLE_RATE]

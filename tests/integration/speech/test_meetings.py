"""A stand-up of a minute is heard to the letter, ten minutes of a meeting nearly so, in every mode."""

from itertools import pairwise
from pathlib import Path

import pytest
from faster_whisper import BatchedInferencePipeline, WhisperModel
from spoken import ALONE, BATCHED, RECORDINGS, SEQUENTIAL, STANDUP, joined, text_of, word_error_rate, words_of

TIME_TOLERANCE_S = 0.3


@pytest.mark.parametrize("mode", SEQUENTIAL)
def test_the_standup_is_heard_exactly(model: WhisperModel, mode: str) -> None:
    segments, _ = model.transcribe(str(STANDUP), **SEQUENTIAL[mode])

    assert joined(segments) == text_of(STANDUP)


def test_the_standup_is_heard_exactly_in_batches(batches: BatchedInferencePipeline) -> None:
    segments, _ = batches.transcribe(str(STANDUP), **BATCHED)

    assert joined(segments) == text_of(STANDUP)


def test_the_standup_is_heard_sentence_by_sentence(model: WhisperModel) -> None:
    segments, _ = model.transcribe(str(STANDUP), **ALONE)

    assert [segment.text.strip() for segment in segments] == STANDUP.with_suffix(".txt").read_text().splitlines()


def test_nearly_all_words_have_the_time_at_which_they_are_spoken(model: WhisperModel) -> None:
    segments = list(model.transcribe(str(STANDUP), **SEQUENTIAL["word times"])[0])
    heard = [word for segment in segments for word in segment.words or ()]
    spoken = words_of(RECORDINGS / "standup.json")

    assert [word.word.strip() for word in heard] == [word.word for word in spoken]
    errors = [
        max(abs(word.start - said.start), abs(word.end - said.end)) for word, said in zip(heard, spoken, strict=True)
    ]
    # faster-whisper lets the first word after a pause begin within the pause.
    assert sum(error <= TIME_TOLERANCE_S for error in errors) >= 0.85 * len(errors)
    assert sum(errors) / len(errors) < 0.2


def test_word_times_ascend_inside_their_segment(model: WhisperModel) -> None:
    segments = list(model.transcribe(str(STANDUP), **SEQUENTIAL["word times"])[0])

    for segment in segments:
        words = segment.words or []
        assert words
        assert all(word.start <= word.end for word in words)
        assert all(before.end <= after.start for before, after in pairwise(words))
        assert segment.start - TIME_TOLERANCE_S <= words[0].start
        assert words[-1].end <= segment.end + TIME_TOLERANCE_S


@pytest.mark.parametrize("mode", SEQUENTIAL)
def test_ten_minutes_are_heard_with_less_than_one_wrong_word_in_a_hundred(
    model: WhisperModel, long_meeting: Path, mode: str
) -> None:
    segments, _ = model.transcribe(str(long_meeting), beam_size=1, **SEQUENTIAL[mode])

    assert word_error_rate(text_of(long_meeting), joined(segments)) < 0.01


def test_ten_minutes_are_heard_with_less_than_one_wrong_word_in_a_hundred_in_batches(
    batches: BatchedInferencePipeline, long_meeting: Path
) -> None:
    segments, _ = batches.transcribe(str(long_meeting), beam_size=1, **BATCHED)

    assert word_error_rate(text_of(long_meeting), joined(segments)) < 0.01

"""A stand-up of a minute is transcribed exactly, ten minutes of a meeting nearly so, in every mode."""

from pathlib import Path

import pytest
from faster_whisper import BatchedInferencePipeline, WhisperModel

from smelt.processor.media.recording import Recording
from smelt.processor.speech.transcriber import SpeechOptions, Transcriber
from tests.integration.speech.reference_texts import (
    BATCHED,
    RECORDINGS,
    SEQUENTIAL,
    SINGLE_PASS,
    STANDUP,
    joined,
    text_of,
    word_error_rate,
    words_of,
)

TIME_TOLERANCE_S = 0.3
WORD_TIMES = (
    SpeechOptions(word_times=True),
    SpeechOptions(word_times=True, vad=False),
    SpeechOptions(word_times=True, batch_size=4),
)


@pytest.mark.parametrize("mode", SEQUENTIAL)
def test_transcribe_standup_exactly_in_every_sequential_mode(model: WhisperModel, mode: str) -> None:
    segments, _ = model.transcribe(str(STANDUP), **SEQUENTIAL[mode])

    assert joined(segments) == text_of(STANDUP)


def test_transcribe_standup_exactly_in_batches(batched_model: BatchedInferencePipeline) -> None:
    segments, _ = batched_model.transcribe(str(STANDUP), **BATCHED)

    assert joined(segments) == text_of(STANDUP)


def test_transcribe_standup_with_one_segment_per_sentence(model: WhisperModel) -> None:
    segments, _ = model.transcribe(str(STANDUP), **SINGLE_PASS)

    assert [segment.text.strip() for segment in segments] == STANDUP.with_suffix(".txt").read_text().splitlines()


@pytest.mark.parametrize("options", WORD_TIMES, ids=str)
def test_word_times_match_the_spoken_times(model: WhisperModel, standup: Recording, options: SpeechOptions) -> None:
    passages = Transcriber(model, options).transcribe(standup, "en")
    segments = [segment for passage in passages for segment in passage.segments]
    transcribed = [word for segment in segments for word in segment.words or ()]
    spoken = words_of(RECORDINGS / "standup.json")

    assert [word.word.strip() for word in transcribed] == [word.word for word in spoken]
    for word, expected in zip(transcribed, spoken, strict=True):
        assert word.start == pytest.approx(expected.start, abs=TIME_TOLERANCE_S), expected
        assert word.end == pytest.approx(expected.end, abs=TIME_TOLERANCE_S), expected
    for segment in segments:
        times = [time for word in segment.words or () for time in (word.start, word.end)]
        assert [segment.start, *times, segment.end] == sorted([segment.start, *times, segment.end])


@pytest.mark.timeout(300)
def test_transcribe_ten_minutes_with_word_error_rate_below_1_percent(model: WhisperModel, long_meeting: Path) -> None:
    segments, _ = model.transcribe(str(long_meeting), beam_size=1, **SEQUENTIAL["word times"])

    assert word_error_rate(text_of(long_meeting), joined(segments)) < 0.01


@pytest.mark.timeout(300)
def test_transcribe_ten_minutes_in_batches_with_error_rate_below_1_percent(
    batched_model: BatchedInferencePipeline, long_meeting: Path
) -> None:
    segments, _ = batched_model.transcribe(str(long_meeting), beam_size=1, **BATCHED)

    assert word_error_rate(text_of(long_meeting), joined(segments)) < 0.01

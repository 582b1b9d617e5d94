"""Single utterances are heard to the letter, in every format."""

from pathlib import Path

import pytest
from faster_whisper import BatchedInferencePipeline, WhisperModel
from spoken import ALONE, BATCHED, RECORDINGS, joined, text_of

AUDIO = sorted(path for path in RECORDINGS.iterdir() if path.suffix not in {".json", ".md", ".txt"})


@pytest.mark.parametrize("recording", AUDIO, ids=lambda path: path.name)
def test_an_utterance_is_heard_exactly(model: WhisperModel, recording: Path) -> None:
    segments, _ = model.transcribe(str(recording), **ALONE)

    assert joined(segments) == text_of(recording)


@pytest.mark.parametrize("recording", [path for path in AUDIO if path.suffix == ".ogg"], ids=lambda path: path.name)
def test_an_utterance_is_heard_exactly_in_a_batch(batches: BatchedInferencePipeline, recording: Path) -> None:
    segments, _ = batches.transcribe(str(recording), **BATCHED)

    assert joined(segments) == text_of(recording)

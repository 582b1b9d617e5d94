"""Single utterances are transcribed exactly, in every format."""

from pathlib import Path

import pytest
from faster_whisper import BatchedInferencePipeline, WhisperModel

from tests.integration.speech.reference_texts import BATCHED, RECORDINGS, SINGLE_PASS, joined, text_of

AUDIO = sorted(path for path in RECORDINGS.iterdir() if path.suffix not in {".json", ".md", ".txt"})


@pytest.mark.parametrize("recording", AUDIO, ids=lambda path: path.name)
def test_transcribe_utterance_exactly_in_every_format(model: WhisperModel, recording: Path) -> None:
    segments, _ = model.transcribe(str(recording), **SINGLE_PASS)

    assert joined(segments) == text_of(recording)


@pytest.mark.parametrize("recording", [path for path in AUDIO if path.suffix == ".ogg"], ids=lambda path: path.name)
def test_transcribe_utterance_exactly_in_batches(batched_model: BatchedInferencePipeline, recording: Path) -> None:
    segments, _ = batched_model.transcribe(str(recording), **BATCHED)

    assert joined(segments) == text_of(recording)

"""Where nobody speaks, nothing is written."""

import numpy as np
import pytest
from faster_whisper import BatchedInferencePipeline, WhisperModel
from numpy.typing import NDArray
from spoken import ALONE, BATCHED, joined

LENGTH_S = 25
RATE = 16_000
TIMES = np.arange(LENGTH_S * RATE) / RATE
NOISE = np.random.default_rng(1).standard_normal(len(TIMES))

QUIET = {
    "silence": np.zeros(len(TIMES)),
    "faint noise": 0.001 * NOISE,
    "noise": 0.02 * NOISE,
    "hum": 0.1 * np.sin(2 * np.pi * 50 * TIMES),
    "tone": 0.2 * np.sin(2 * np.pi * 440 * TIMES),
    "beeps": 0.2 * np.sin(2 * np.pi * 1000 * TIMES) * (TIMES % 2 < 0.4),
}


@pytest.mark.parametrize("sound", QUIET.values(), ids=QUIET.keys())
def test_what_is_not_speech_gives_no_text(model: WhisperModel, sound: NDArray[np.float64]) -> None:
    segments, _ = model.transcribe(sound.astype(np.float32), **ALONE)

    assert joined(segments) == ""


@pytest.mark.parametrize("sound", QUIET.values(), ids=QUIET.keys())
def test_what_is_not_speech_gives_no_text_in_batches(
    batches: BatchedInferencePipeline, sound: NDArray[np.float64]
) -> None:
    segments, _ = batches.transcribe(sound.astype(np.float32), **BATCHED)

    assert joined(segments) == ""

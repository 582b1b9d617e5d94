"""Audio without speech gives no text."""

import numpy as np
import pytest
from faster_whisper import BatchedInferencePipeline, WhisperModel
from numpy.typing import NDArray

from tests.integration.speech.reference_texts import BATCHED, SINGLE_PASS, joined

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
def test_silence_and_noise_give_no_text(model: WhisperModel, sound: NDArray[np.float64]) -> None:
    segments, _ = model.transcribe(sound.astype(np.float32), **SINGLE_PASS)

    assert joined(segments) == ""


@pytest.mark.parametrize("sound", QUIET.values(), ids=QUIET.keys())
def test_silence_and_noise_give_no_text_in_batches(
    batched_model: BatchedInferencePipeline, sound: NDArray[np.float64]
) -> None:
    segments, _ = batched_model.transcribe(sound.astype(np.float32), **BATCHED)

    assert joined(segments) == ""

"""Recordings, a decoded one, and the demo model; each made once."""

import pytest
from audio_samples import LIMITS, STANDUP
from faster_whisper import WhisperModel

from smelt.processor.media.decode import decode
from smelt.processor.media.probe import probe
from smelt.processor.media.recording import SAMPLE_RATE, Recording
from smelt.processor.speech.model import ModelOptions, load_model


@pytest.fixture(scope="session")
def standup(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """The recording of the demo, decoded."""
    return decode(
        STANDUP, tmp_path_factory.mktemp("standup") / "standup.pcm", probe(STANDUP, LIMITS), LIMITS, lambda _: True
    )


@pytest.fixture(scope="session")
def opening(standup: Recording) -> Recording:
    """Its first 34 seconds, for what is done many times over."""
    return Recording(standup.path, 34 * SAMPLE_RATE)


@pytest.fixture(scope="session")
def demo_model() -> WhisperModel:
    """The model in the package."""
    return load_model(ModelOptions())

"""Recordings, a decoded one, and the demo model; each made once."""

import pytest
from faster_whisper import WhisperModel

from smelt.processor.media.decode import decode_to_pcm
from smelt.processor.media.probe import probe
from smelt.processor.media.recording import SAMPLE_RATE, Recording
from smelt.processor.speech.model import ModelOptions, load_model
from tests.unit.processor.audio_samples import LIMITS, STANDUP


@pytest.fixture(scope="session")
def standup(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Return the recording of the demo, decoded."""
    return decode_to_pcm(
        STANDUP, tmp_path_factory.mktemp("standup") / "standup.pcm", probe(STANDUP, LIMITS), LIMITS, lambda _: None
    )


@pytest.fixture(scope="session")
def opening(standup: Recording) -> Recording:
    """Return its first 34 seconds, for tests that transcribe it many times."""
    return Recording(standup.path, 34 * SAMPLE_RATE)


@pytest.fixture(scope="session")
def demo_model() -> WhisperModel:
    """Return the model in the package."""
    return load_model(ModelOptions())


@pytest.fixture(scope="session")
def two_lanes() -> WhisperModel:
    """Return the same model with two lanes, which transcribes two windows of a recording at a time."""
    return load_model(ModelOptions(cpu_threads=1, lanes=2))

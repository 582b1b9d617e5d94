"""The model that ships with smelt, and a long meeting to transcribe."""

import ctypes.util
import sys
from pathlib import Path

import pytest
from faster_whisper import BatchedInferencePipeline, WhisperModel

from smelt.processor.media.decode import decode_to_pcm
from smelt.processor.media.probe import probe
from smelt.processor.media.recording import Recording
from smelt.processor.media.values import MediaLimits
from smelt.processor.speech.model import ModelOptions, load_model
from tests.harness.processes import run
from tests.integration.speech.reference_texts import REPOSITORY, STANDUP

LONG_S = 600


@pytest.fixture(scope="session")
def model() -> WhisperModel:
    return load_model(ModelOptions(name="demo", device="cpu"))


@pytest.fixture(scope="session")
def batched_model(model: WhisperModel) -> BatchedInferencePipeline:
    return BatchedInferencePipeline(model)


@pytest.fixture(scope="session")
def standup(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Return the recording of the demo, decoded by the processor."""
    limits = MediaLimits(max_file_bytes=10_000_000, max_duration_s=600)
    target = tmp_path_factory.mktemp("standup") / "standup.pcm"
    return decode_to_pcm(STANDUP, target, probe(STANDUP, limits), limits, lambda _: True)


@pytest.fixture(scope="session")
def long_meeting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generate ten minutes of three voices, with their text in a file beside them."""
    if ctypes.util.find_library("espeak-ng") is None:
        pytest.skip("espeak-ng speaks the long recording: apt-get install espeak-ng libespeak-ng1")
    recording = tmp_path_factory.mktemp("meeting") / "meeting.wav"
    script = REPOSITORY / "scripts" / "train_demo_model" / "make_recordings.py"
    run([sys.executable, script, "long", recording, "--seconds", str(LONG_S)], check=True)
    return recording

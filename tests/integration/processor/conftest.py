"""A project for all workers of these tests, and a recording that takes a while."""

import wave
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

from smelt.processor.media.decode import decode_to_pcm
from smelt.processor.media.probe import probe
from smelt.processor.media.recording import SAMPLE_RATE
from smelt.processor.media.values import MediaLimits
from smelt.processor.speech.model import ModelOptions, load_model
from smelt.processor.speech.transcriber import SpeechOptions, Transcriber
from tests.harness.stacks import Stack, running_project
from tests.harness.worker_harness import STANDUP

# More than one span of the transcriber, and long enough to stop a worker in the middle twice.
REPEATS = 4
LIMITS = MediaLimits(max_file_bytes=10**9, max_duration_s=36000)


@pytest.fixture(scope="session")
def project() -> Iterator[Stack]:
    """Run a project whose only workers are those of the running test; tests leave nothing claimable behind."""
    with running_project() as running:
        yield running


@pytest.fixture(scope="session")
def long_recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return four and a half minutes of speech."""
    folder = tmp_path_factory.mktemp("long")
    once = decode_to_pcm(STANDUP, folder / "once.pcm", probe(STANDUP, LIMITS), LIMITS, lambda _: True)
    with wave.open(str(folder / "long.wav"), "wb") as target:
        target.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        for _ in range(REPEATS):
            target.writeframes(once.path.read_bytes())
    return folder / "long.wav"


@pytest.fixture(scope="session")
def undisturbed_texts(long_recording: Path) -> list[str]:
    """Return its text, transcribed without a stop."""
    pcm = long_recording.with_suffix(".pcm")
    recording = decode_to_pcm(long_recording, pcm, probe(long_recording, LIMITS), LIMITS, lambda _: True)
    passages = Transcriber(load_model(ModelOptions()), SpeechOptions()).transcribe(recording, "en")
    return [segment.text for segment in chain.from_iterable(passage.segments for passage in passages)]

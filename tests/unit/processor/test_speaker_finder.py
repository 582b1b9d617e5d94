"""The speakers of a recording are identified in a child, whose deaths are those of one recording."""

from pathlib import Path

import numpy as np
import pytest
from faster_whisper import decode_audio

from smelt.errors import SettingsError
from smelt.processor.errors import ChildKilled, FileError
from smelt.processor.media.recording import Recording
from smelt.processor.speakers.finder import SpeakerFinder
from smelt.processor.speakers.turns import speaker_at
from tests.harness.patched_children import PatchedChildren
from tests.harness.processes import assert_ended, started_by_workers
from tests.harness.voice_models import RATE, muffled, write_voice_model

STANDUP = Path(__file__).parents[3] / "smelt" / "cli" / "recordings" / "standup.ogg"
PATCHED = """
import os, signal
import smelt.processor.speakers.diarization as module
real = module.diarize
def diarize(*arguments):
    count = record("diarize")
    {action}
    return real(*arguments)
module.diarize = diarize
"""


@pytest.fixture(scope="module")
def dialog(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Return 24 s of speech, in which two voices alternate every 6 s."""
    sound = decode_audio(str(STANDUP))[: 24 * RATE]
    parts = [part if n % 2 == 0 else muffled(part) for n, part in enumerate(np.split(sound, 4))]
    path = tmp_path_factory.mktemp("dialog") / "dialog.pcm"
    (np.concatenate(parts) * 32767).astype(np.int16).tofile(path)
    return Recording(path, 24 * RATE)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of voices that distinguishes the two."""
    return write_voice_model(tmp_path / "voices.onnx")


async def test_speakers_of_a_dialog_are_identified(dialog: Recording, model: Path) -> None:
    shares: list[float] = []
    found = await SpeakerFinder(model).find(dialog, shares.append)
    assert [speaker_at(found.turns, at_s, at_s + 1.0) for at_s in (3.0, 9.0, 15.0, 21.0)] == [1, 2, 1, 2]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert_ended(started_by_workers())


async def test_silence_has_no_speakers(tmp_path: Path, model: Path) -> None:
    silence = tmp_path / "silence.pcm"
    silence.write_bytes(bytes(4 * RATE))
    found = await SpeakerFinder(model).find(Recording(silence, 2 * RATE), lambda _share: None)
    assert (found.turns, found.uncertain) == ([], 0.0)


async def test_crash_is_retried_once_and_then_the_file_fails(
    dialog: Recording, model: Path, children: PatchedChildren
) -> None:
    children.run(PATCHED.format(action="count == 1 and os.kill(os.getpid(), signal.SIGSEGV)"), "speakers")
    assert (await SpeakerFinder(model).find(dialog, lambda _share: None)).turns
    children.run(PATCHED.format(action="os.kill(os.getpid(), signal.SIGABRT)"), "speakers")
    with pytest.raises(FileError) as failed:
        await SpeakerFinder(model).find(dialog, lambda _share: None)
    assert failed.value.sentence == "The speakers could not be identified. Request a transcript without speakers."
    assert_ended(started_by_workers())


async def test_kill_by_another_process_is_no_fault_of_the_file(
    dialog: Recording, model: Path, children: PatchedChildren
) -> None:
    children.run(PATCHED.format(action="os.kill(os.getpid(), signal.SIGKILL)"), "speakers")
    with pytest.raises(ChildKilled):
        await SpeakerFinder(model).find(dialog, lambda _share: None)
    assert children.calls == ["diarize"]


async def test_file_that_is_no_model_fails_with_its_name(dialog: Recording, tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(b"no model")
    with pytest.raises(FileError, match=r"other\.onnx can't be loaded"):
        await SpeakerFinder(other).find(dialog, lambda _share: None)


def test_missing_model_ends_the_start_of_the_worker(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"SMELT_SPEAKER_MODEL=.*missing is not a file"):
        SpeakerFinder(tmp_path / "missing")

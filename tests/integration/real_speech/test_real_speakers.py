"""A real model of voices distinguishes the speakers of real recordings."""

import json
from pathlib import Path

import numpy as np
import pytest
from faster_whisper import decode_audio
from speakers_scoring import score

from smelt.processor.media.recording import SAMPLE_RATE, Recording
from smelt.processor.speakers.finder import SpeakerFinder

pytestmark = [pytest.mark.real_speech, pytest.mark.timeout(900)]


@pytest.mark.parametrize(("name", "seconds", "speakers", "bar"), [("call", 137, 2, 0.06), ("ten", 300, 4, 0.09)])
async def test_speakers_of_real_recordings_are_distinguished(
    name: str, seconds: int, speakers: int, bar: float, real_speech: Path, real_speaker_model: Path, tmp_path: Path
) -> None:
    samples = decode_audio(str(real_speech / f"{name}.flac"))[: seconds * SAMPLE_RATE]
    path = tmp_path / "samples.pcm"
    (samples * 32767).astype(np.int16).tofile(path)
    found = await SpeakerFinder(real_speaker_model).find(Recording(path, len(samples)), lambda _share: None)
    known = [
        (turn["start"], min(turn["end"], float(seconds)), turn.get("spk") or turn["file"].partition("-")[0])
        for turn in json.loads((real_speech / f"{name}.json").read_text())
        if turn["start"] < seconds
    ]
    assert len({speaker for _, _, speaker in known}) == speakers
    assert len({turn.speaker for turn in found.turns}) == speakers
    turns = [(turn.start, turn.end, str(turn.speaker)) for turn in found.turns]
    assert score(known, turns, len(samples) / SAMPLE_RATE).rate <= bar

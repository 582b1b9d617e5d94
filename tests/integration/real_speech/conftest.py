"""Recordings of real speech, transcribed once by a worker with a real model."""

import os
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from faster_whisper import decode_audio

import smelt.blocking
from tests.harness.processes import run
from tests.harness.stacks import Stack, running_project, sign_up
from tests.integration.real_speech.real_transcripts import PARTS, RECORDINGS, Transcript

RATE = 16_000
MAX_FILES = 5
WORKER_TIMEOUT_S = 800.0


@pytest.fixture(scope="session")
def transcripts(real_speech: Path, real_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Transcript]:
    """Upload all recordings, run a worker until they are transcribed, and return the transcripts by name."""
    folder = tmp_path_factory.mktemp("real_speech")
    files = [real_speech / name for name in RECORDINGS]
    files += [_part(folder / name, real_speech / source, start, end) for name, (source, start, end) in PARTS.items()]
    with running_project() as stack:
        user = sign_up(stack)
        with smelt.blocking.connect(stack.api_url, stack.anon_key, access_token=user.access_token) as client:
            smelts = [client.create(files=files[at : at + MAX_FILES]).id for at in range(0, len(files), MAX_FILES)]
            _run_worker(stack, real_model, folder)
            states = [client.get(smelt_id) for smelt_id in smelts]
        return {file.filename: Transcript(file, state.segments_of(file.id)) for state in states for file in state.files}


def _part(target: Path, source: Path, start_s: float, end_s: float) -> Path:
    samples = decode_audio(str(source))[round(start_s * RATE) : round(end_s * RATE)]
    with wave.open(str(target), "wb") as sink:
        sink.setparams((1, 2, RATE, 0, "NONE", ""))
        sink.writeframes((samples * 32767).astype(np.int16).tobytes())
    return target


def _run_worker(stack: Stack, model: Path, folder: Path) -> None:
    settings = {"SMELT_MODEL": str(model), "SMELT_COMPUTE_TYPE": "int8", "SMELT_TEMP_DIR": str(folder / "work")}
    # Measured, they would depend on what else runs, and with them the text.
    settings |= {"SMELT_MODEL_LANES": "2", "SMELT_CPU_THREADS": "1"}
    command = [sys.executable, "-m", "smelt", "worker", "--once"]
    run(command, env={**os.environ, **stack.env(), **settings}, cwd=folder, timeout_s=WORKER_TIMEOUT_S, check=True)

"""Parts of the benchmarks: a recording of any length, a signed-in client, a worker process, and the printed figures."""

import json
import os
import subprocess
import sys
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import httpx

import smelt
from smelt.local import LocalStack
from smelt.processor.media.decode import decode_to_pcm
from smelt.processor.media.probe import probe
from smelt.processor.media.recording import BYTES_PER_SECOND, SAMPLE_RATE
from smelt.processor.media.values import MediaLimits

STANDUP = Path(__file__).parents[2] / "smelt" / "cli" / "recordings" / "standup.ogg"


def print_figure(
    figure: str, value: float, unit: str, *, reference: str, reference_value: float | None, **more: object
) -> None:
    """Print a figure, its reference value and their ratio as a line of JSON."""
    line = {"figure": figure, "value": round(value, 3), "unit": unit, "reference": reference}
    if reference_value is not None:
        line |= {"reference_value": round(reference_value, 3)}
        line |= {"ratio": round(value / reference_value, 3)} if reference_value else {}
    print(json.dumps({**line, **more}), flush=True)


def recording(target: Path, seconds: float) -> Path:
    """Write a WAV file of `seconds` that repeats the demo recording; return its path."""
    limits = MediaLimits(max_file_bytes=10**9, max_duration_s=1000)
    once = decode_to_pcm(STANDUP, target.with_suffix(".pcm"), probe(STANDUP, limits), limits, lambda _: True)
    samples = once.path.read_bytes()
    left = int(seconds * SAMPLE_RATE) * (BYTES_PER_SECOND // SAMPLE_RATE)
    with wave.open(str(target), "wb") as sink:
        sink.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        while left > 0:
            sink.writeframes(samples[:left])
            left -= len(samples)
    return target


@asynccontextmanager
async def signed_in(stack: LocalStack) -> AsyncIterator[smelt.Client]:
    """Connect a client as a new user; anonymous clients may not upload recordings of hours."""
    async with httpx.AsyncClient(base_url=stack.api_url, headers={"apikey": stack.anon_key}) as http:
        account = {"email": f"{uuid4()}@example.com", "password": str(uuid4())}
        token = (await http.post("/auth/v1/signup", json=account)).raise_for_status().json()["access_token"]
    async with smelt.connect(stack.api_url, stack.anon_key, access_token=token) as client:
        yield client


def start_worker(stack: LocalStack, folder: Path, *options: str, **settings: str) -> subprocess.Popen[bytes]:
    """Start `smelt worker` with the demo model, or that of `SMELT_MODEL`; it logs to `worker.log` in the folder."""
    env = {"SMELT_MODEL": "demo", **os.environ, **stack.env(), "SMELT_TEMP_DIR": str(folder), **settings}
    with (folder / "worker.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "smelt", "worker", *options], env=env, cwd=folder, stdout=log, stderr=log
        )

"""Parts of the benchmarks: a recording of any length, a signed-in client, a worker process, and the printed figures."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import wave
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Final
from uuid import uuid4

import httpx
import psutil

import smelt
from smelt.local import LocalStack
from smelt.processor.media.decode import decode_to_pcm
from smelt.processor.media.probe import probe
from smelt.processor.media.recording import BYTES_PER_SECOND, SAMPLE_RATE
from smelt.processor.media.values import MediaLimits

STANDUP = Path(__file__).parents[2] / "smelt" / "cli" / "recordings" / "standup.ogg"
# A shorter sample contains one tick of CPU time or none. Several idle samples are needed, since the model also pauses
# between two segments.
SAMPLE_S: Final = 0.05
IDLE_SAMPLES: Final = 6
IDLE_SHARE: Final = 0.1


def print_figure(
    figure: str, value: float, unit: str, *, reference: str, reference_value: float | None, **more: object
) -> None:
    """Print a figure, its reference value and their ratio as a line of JSON."""
    line = {"figure": figure, "value": round(value, 3), "unit": unit, "reference": reference}
    if reference_value is not None:
        line |= {"reference_value": round(reference_value, 3)}
        line |= {"ratio": round(value / reference_value, 3)} if reference_value else {}
    print(json.dumps({**line, **more}), flush=True)


def print_medians(
    figure: str, values: Sequence[float], unit: str, reference: str, reference_values: Sequence[float], **more: object
) -> None:
    """Print the median of the rounds with its spread, and that of the reference."""
    spread = [round(min(values), 3), round(max(values), 3)]
    print_figure(
        figure, median(values), unit, reference=reference, reference_value=median(reference_values),
        spread=spread, rounds=len(values), **more,
    )  # fmt: skip


def recording(target: Path, seconds: float, source: Path = STANDUP) -> Path:
    """Write a WAV file of `seconds` that repeats a recording, by default that of the demo; return its path."""
    limits = MediaLimits(max_file_bytes=10**9, max_duration_s=1000)
    once = decode_to_pcm(source, target.with_suffix(".pcm"), probe(source, limits), limits, lambda _: True)
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


@asynccontextmanager
async def running_worker(stack: LocalStack, folder: Path, **settings: str) -> AsyncIterator[psutil.Process]:
    """Run a worker; drain it at the end of the block."""
    worker = start_worker(stack, folder, **settings)
    try:
        yield psutil.Process(worker.pid)
    finally:
        worker.send_signal(signal.SIGTERM)
        await asyncio.to_thread(worker.wait)


def cpu_s(worker: psutil.Process) -> float:
    """Return the processor time of a worker and its children."""
    used_s = 0.0
    for process in (worker, *worker.children()):
        with suppress(psutil.NoSuchProcess):  # A child that has decoded its file.
            used_s += sum(process.cpu_times()[:2])
    return used_s


async def idle_since(worker: psutil.Process) -> float:
    """Wait until a worker and its children are idle; return the time from which they used almost no processor."""
    idle_since_s, samples = time.monotonic(), 0
    while samples < IDLE_SAMPLES:
        before_s, used_s = time.monotonic(), cpu_s(worker)
        await asyncio.sleep(SAMPLE_S)
        if cpu_s(worker) - used_s > IDLE_SHARE * (time.monotonic() - before_s):
            idle_since_s, samples = time.monotonic(), 0
        else:
            samples += 1
    return idle_since_s

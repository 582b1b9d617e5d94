"""What a worker takes and tells while it works: memory, the time of the event loop, an honest estimate."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench import customer, eventually, working
from stacks import Stack

LISTEN = """
import resource, sys
from pathlib import Path
from smelt.processor.media.decode import decode
from smelt.processor.media.probe import Limits, probe
from smelt.processor.media.recording import SAMPLE_RATE, Recording
from smelt.processor.speech.model import ModelOptions, load_model
from smelt.processor.speech.transcriber import SpeechOptions, Transcriber
source, target, seconds = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
limits = Limits(max_file_bytes=10**9, max_duration_s=36000)
whole = decode(source, target, probe(source, limits), limits, lambda _: True)
recording = Recording(target, min(whole.sample_count, seconds * SAMPLE_RATE))
transcriber = Transcriber(load_model(ModelOptions()), SpeechOptions(beam_size=1, max_span_s=30))
for passage in transcriber.listen(recording, "en"):
    pass
assert passage.position_s > seconds - 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
# Some 25 are seen, which is how allocators leave their pages; features of four minutes at once take 250 more.
MORE_MEMORY_MIB = 60
LAG_S = 0.05


def peak_mib(recording: Path, folder: Path, seconds: int) -> int:
    """Peak memory of a process that decodes and hears so much of a recording."""
    command = [sys.executable, "-c", LISTEN, str(recording), str(folder / "x.pcm"), str(seconds)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_memory_does_not_grow_with_the_recording(long_recording: Path, tmp_path: Path) -> None:
    short, long = (peak_mib(long_recording, tmp_path, seconds) for seconds in (40, 240))
    assert long - short < MORE_MEMORY_MIB, f"{short} MiB for 40 s, {long} MiB for 4 minutes"


class Lag:
    """How late the event loop is with what it had promised."""

    def __init__(self) -> None:
        self.found: list[float] = []

    async def keep_measuring(self) -> None:
        while True:
            due_s = time.monotonic() + 0.005
            await asyncio.sleep(0.005)
            self.found.append(time.monotonic() - due_s)


async def test_work_leaves_the_loop_alone_and_the_estimate_is_honest(
    project: Stack, tmp_path: Path, long_recording: Path
) -> None:
    lag, told = Lag(), list[tuple[float, dict[str, Any]]]()
    async with customer(project) as app, working(project, tmp_path):
        created = await app.create(long_recording)
        measuring = asyncio.create_task(lag.keep_measuring())
        async with app.watching(created.id) as watched:
            await app.calls.submit_smelt(created.id)

            def note() -> bool:
                told.extend((time.monotonic(), p) for p in watched.named("progress")[len(told) :])
                return bool(watched.ends)

            await eventually(note, 120)
        ended_s = time.monotonic()
        measuring.cancel()
    late = sorted(lag.found)
    # Other processes of this machine take their share too, so a single late call says little.
    assert late[int(len(late) * 0.99)] < LAG_S, late[-10:]
    estimates = [
        (payload["eta_seconds"], ended_s - heard_s)
        for heard_s, payload in told
        if 32.5 <= payload["progress"]["percentage"] <= 57.5 and payload["eta_seconds"] is not None
    ]
    assert len(estimates) >= 2
    off = sorted(abs(estimate - truth) / truth for estimate, truth in estimates)
    assert off[len(off) // 2] < 0.35, estimates

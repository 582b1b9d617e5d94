"""The resources of a worker: memory, and the time of its event loop; and its ETA."""

import asyncio
import gc
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.processes import run
from tests.harness.stacks import Stack
from tests.harness.waiting import until
from tests.harness.worker_harness import app_client, run_worker_once

TRANSCRIBE = """
import resource, sys
from pathlib import Path
from smelt.processor.media.decode import decode_to_pcm
from smelt.processor.media.probe import probe
from smelt.processor.media.values import MediaLimits
from smelt.processor.media.recording import SAMPLE_RATE, Recording
from smelt.processor.speech.model import ModelOptions, load_model
from smelt.processor.speech.transcriber import SpeechOptions, Transcriber
source, target, seconds = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
limits = MediaLimits(max_file_bytes=10**9, max_duration_s=36000)
whole = decode_to_pcm(source, target, probe(source, limits), limits, lambda _: True)
recording = Recording(target, min(whole.sample_count, seconds * SAMPLE_RATE))
transcriber = Transcriber(load_model(ModelOptions()), SpeechOptions(beam_size=1, max_span_s=30))
for passage in transcriber.transcribe(recording, "en"):
    pass
assert passage.position_s > seconds - 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
# Unreturned pages of the allocator account for some 25; the features of four minutes at once would take 250 more.
MAX_GROWTH_MIB = 60
MAX_BLOCKED_S = 0.05
# A tenth of the recording is transcribed: the speed is known.
KNOWN_PERCENT = 25.0


def peak_mib(recording: Path, folder: Path, seconds: int) -> int:
    """Return the peak memory of a process that decodes a recording and transcribes its first seconds."""
    command = [sys.executable, "-c", TRANSCRIBE, str(recording), str(folder / "x.pcm"), str(seconds)]
    return int(run(command, check=True).stdout)


def test_memory_does_not_grow_with_the_length_of_the_recording(long_recording: Path, tmp_path: Path) -> None:
    short, long = (peak_mib(long_recording, tmp_path, seconds) for seconds in (40, 240))
    assert long - short < MAX_GROWTH_MIB, f"{short} MiB for 40 s, {long} MiB for 4 minutes"


class LoopCallTimes:
    """Measures the callbacks of an event loop in processor time, which other processes do not affect."""

    def __init__(self) -> None:
        self.max_s = 0.0
        self.max_callback = ""

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure all callbacks of the loop."""
        run = asyncio.Handle._run

        def timed(handle: asyncio.Handle) -> None:
            began_s = time.thread_time()
            run(handle)
            took_s = time.thread_time() - began_s
            if took_s > self.max_s:
                self.max_s, self.max_callback = took_s, repr(handle)

        # Exclude collecting the garbage of earlier tests.
        gc.freeze()
        asyncio.Handle._run = timed  # type: ignore[method-assign]
        try:
            yield
        finally:
            asyncio.Handle._run = run  # type: ignore[method-assign]
            gc.unfreeze()


async def test_event_loop_is_not_blocked_and_eta_remains_known(
    project: Stack, tmp_path: Path, long_recording: Path
) -> None:
    calls = LoopCallTimes()
    async with app_client(project) as app:
        created = await app.create(long_recording)
        async with app.watching(created.id) as watched:
            await app.calls.submit_smelt(created.id)
            with calls.measured():
                await run_worker_once(project, tmp_path)
            await until(lambda: watched.ends)
    assert 0 < calls.max_s < MAX_BLOCKED_S, calls.max_callback
    estimates = [(payload["progress"]["percentage"], payload["eta_seconds"]) for payload in watched.named("progress")]
    first = next(place for place, (_, eta_s) in enumerate(estimates) if eta_s is not None)
    assert all(eta_s is not None and eta_s >= 0 for _, eta_s in estimates[first:]), estimates
    assert all(eta_s is not None for percentage, eta_s in estimates if percentage > KNOWN_PERCENT), estimates

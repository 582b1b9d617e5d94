"""What a worker takes while it works: memory, and the time of its event loop; and that its estimates stay."""

import asyncio
import gc
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from processes import run
from stacks import Stack
from worker_harness import app_client, eventually, run_worker_once

TRANSCRIBE = """
import resource, sys
from pathlib import Path
from smelt.processor.media.decode import decode
from smelt.processor.media.probe import MediaLimits, probe
from smelt.processor.media.recording import SAMPLE_RATE, Recording
from smelt.processor.speech.model import ModelOptions, load_model
from smelt.processor.speech.transcriber import SpeechOptions, Transcriber
source, target, seconds = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
limits = MediaLimits(max_file_bytes=10**9, max_duration_s=36000)
whole = decode(source, target, probe(source, limits), limits, lambda _: True)
recording = Recording(target, min(whole.sample_count, seconds * SAMPLE_RATE))
transcriber = Transcriber(load_model(ModelOptions()), SpeechOptions(beam_size=1, max_span_s=30))
for passage in transcriber.listen(recording, "en"):
    pass
assert passage.position_s > seconds - 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
# Some 25 are seen, which is how allocators leave their pages; features of four minutes at once take 250 more.
MAX_GROWTH_MIB = 60
MAX_BLOCKED_S = 0.05
# A tenth of the recording is heard: the speed is known.
KNOWN_PERCENT = 25.0


def peak_mib(recording: Path, folder: Path, seconds: int) -> int:
    """Peak memory of a process that decodes and hears so much of a recording."""
    command = [sys.executable, "-c", TRANSCRIBE, str(recording), str(folder / "x.pcm"), str(seconds)]
    return int(run(command, check=True).stdout)


def test_memory_does_not_grow_with_the_length_of_the_recording(long_recording: Path, tmp_path: Path) -> None:
    short, long = (peak_mib(long_recording, tmp_path, seconds) for seconds in (40, 240))
    assert long - short < MAX_GROWTH_MIB, f"{short} MiB for 40 s, {long} MiB for 4 minutes"


class LoopCallTimes:
    """What the callbacks of an event loop take of its thread: processor time, which no other process makes longer."""

    def __init__(self) -> None:
        self.max_s = 0.0
        self.max_callback = ""

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure all that the loop calls."""
        run = asyncio.Handle._run

        def timed(handle: asyncio.Handle) -> None:
            began_s = time.thread_time()
            run(handle)
            took_s = time.thread_time() - began_s
            if took_s > self.max_s:
                self.max_s, self.max_callback = took_s, repr(handle)

        # Looking through what all tests before this one have left is no work of a worker.
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
            await eventually(lambda: watched.ends)
    assert 0 < calls.max_s < MAX_BLOCKED_S, calls.max_callback
    told = [(payload["progress"]["percentage"], payload["eta_seconds"]) for payload in watched.named("progress")]
    first = next(place for place, (_, eta_s) in enumerate(told) if eta_s is not None)
    assert all(eta_s is not None and eta_s >= 0 for _, eta_s in told[first:]), told
    assert all(eta_s is not None for percentage, eta_s in told if percentage > KNOWN_PERCENT), told

"""Compare transcribing in a child with transcribing in the same process: processor time and wall time.

Each pair transcribes a recording both ways, in alternating order, with the stage `Transcribe`. The model is loaded
before, which is not measured. The figures are medians.

    .venv/bin/python scripts/bench/isolation.py [--pairs 7] [--seconds 600 5]
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import psutil
from bench_common import print_medians, recording

from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.work import Claim
from smelt.processor.media.recording import SAMPLE_RATE, Recording
from smelt.processor.model_queue import ModelQueue
from smelt.processor.options import WorkerOptions
from smelt.processor.speech.checkpoint import Checkpoint
from smelt.processor.speech.languages import Language
from smelt.processor.speech.model import load_model
from smelt.processor.speech.shared import SharedModel
from smelt.processor.speech.transcriber import Transcriber
from smelt.processor.speech.values import Passage
from smelt.processor.speed import SpeedEstimate
from smelt.processor.stages.stage import Job
from smelt.processor.stages.transcribe import Transcribe
from smelt.processor.state import SmeltState

WAV_HEADER_BYTES = 44


class ModelInProcess:
    """Transcribes in a thread of this process, like `SharedModel` in a child."""

    info: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, options: WorkerOptions) -> None:
        self._transcriber = Transcriber(load_model(options.model_options), options.speech_options)

    @asynccontextmanager
    async def acquire(self) -> AsyncGenerator[None, None]:
        yield

    async def transcribe(
        self, _smelt_id: UUID, source: Recording, start: Checkpoint, *, main_language: str | None = None, **_: object
    ) -> AsyncGenerator[Language | Passage, None]:
        language = main_language or (await asyncio.to_thread(self._transcriber.detect_language, source)).code
        yield Language(language, 1.0)
        passages = self._transcriber.transcribe(source, language, start)
        while (passage := await asyncio.to_thread(next, passages, None)) is not None:
            yield passage

    async def aclose(self) -> None:
        return None


def new_claim(duration_s: float) -> Claim:
    file = {"id": uuid4(), "position": 0, "filename": "a.wav", "input_type": "audio", "size_bytes": 1}
    unknown = {"object_path": None, "object_version": None, "language": None, "checkpoint": None}
    started = {"status": "pending", "stage": "pending", "progress": 0.0, "transcribed": False, "segment_count": 0}
    return Claim.model_validate(
        {
            "id": uuid4(),
            "user_id": None,
            "batch_id": None,
            "run": 1,
            "attempt": 1,
            "seq": 1,
            "status": "pending",
            "percentage": 0.0,
            "mode": "separate",
            "text_input": None,
            "default_prompt_names": [],
            "user_prompt": None,
            "failure_count": 0,
            "lease_expires_at": "2026-01-01T00:00:00Z",
            "max_file_bytes": 10**9,
            "max_duration_s": 10**6,
            "files": [{**file, **unknown, **started, "duration_seconds": duration_s}],
        }
    )


def processor_s() -> float:
    """Return the processor time of this process and of its children, also of those that have ended."""
    own = psutil.Process()
    live = [child.cpu_times() for child in own.children(recursive=True)]
    used = own.cpu_times()
    ended = used.children_user + used.children_system
    return used.user + used.system + ended + sum(times.user + times.system for times in live)


async def measure(model: Any, source: Recording) -> dict[str, float]:
    state = SmeltState(new_claim(source.duration_s), lambda _: None)
    state.enter("transcribing")
    state.files[0].recording = source
    services: Any = SimpleNamespace(
        model=model,
        calls=WorkerRpc(None),  # type: ignore[arg-type]
        speed=SpeedEstimate(),
        model_queue=ModelQueue(),
    )
    reporter: Any = SimpleNamespace(state=state)
    stage = Transcribe(Job(reporter, services, Path()))
    started_s, used_s = time.monotonic(), processor_s()
    async with stage.turn():
        await stage.run(state.files[0])
    assert state.files[0].segments
    return {"wall_s": time.monotonic() - started_s, "processor_s": processor_s() - used_s}


async def compare(source: Recording, pairs: int) -> None:
    options = WorkerOptions(worker_id="bench", beam_size=1)
    shared = SharedModel(options.model_options, options.speech_options)
    await shared.wait_usable()
    models: dict[str, Any] = {"in process": ModelInProcess(options), "in a child": shared}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in models}
    for pair in range(pairs):
        for name in sorted(models, reverse=bool(pair % 2)):
            found[name].append(await measure(models[name], source))
    for key, figure in (("wall_s", "time"), ("processor_s", "processor time")):
        in_child, in_process = ([run[key] for run in found[name]] for name in ("in a child", "in process"))
        print_medians(
            f"{figure} of {source.duration_s:g} s in a child", in_child, "s", "in the same process", in_process
        )
    await shared.aclose()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--seconds", type=float, nargs="+", default=[5.0, 600.0])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for seconds in arguments.seconds:
            wav = recording(Path(folder) / "recording.wav", seconds)
            pcm = Path(folder) / f"{seconds:g}.pcm"
            pcm.write_bytes(wav.read_bytes()[WAV_HEADER_BYTES:])
            await compare(Recording(pcm, int(seconds * SAMPLE_RATE)), arguments.pairs)


if __name__ == "__main__":
    asyncio.run(main())

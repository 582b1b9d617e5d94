"""Measure how much longer a clip takes than with faster-whisper alone, and how soon a watcher has progress and text.

    python scripts/bench/overhead.py [--file RECORDING] [--model FOLDER] [--rounds 10] [--text-rounds 3] [--minutes 10]

A round submits a clip of 5 seconds to a warm worker on the embedded stack, without and with outputs, and transcribes
it with faster-whisper with the same model, settings and threads, which is loaded in this process; the order alternates.
The recording is by default that of the demo, and so is the model. The watcher is connected before the submission. In
the rounds of the long recording, both stop at the first text.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
from bench_common import STANDUP, idle_since, print_medians, recording, running_worker, signed_in
from faster_whisper import WhisperModel
from speed import SAME

import smelt
from smelt.local import LocalStack
from smelt.processor.speech.demo_model_card import DEMO
from smelt.processor.speech.model import load_model
from smelt.processor.speech.values import ModelOptions

CLIP_S: Final = 5.0
WARM_UPS: Final = 2
BARE: Final = "faster-whisper alone"
COMPUTE_TYPE: Final = "int8"
THREADS: Final = os.cpu_count() or 1
# Longer than the interval between two wake-ups.
PAUSE_S: Final = 1.1


@dataclass(frozen=True)
class Times:
    """Seconds until the first progress of a worker, the first text, and the end; the library reports no progress."""

    text_s: float
    end_s: float
    progress_s: float = 0.0


@dataclass(frozen=True)
class Bench:
    """A client, a warm worker, and a model in this process with the same settings."""

    client: smelt.Client
    worker: psutil.Process
    model: WhisperModel

    async def clip(self, file: Path, rounds: int) -> dict[str, list[Times]]:
        """Measure a clip to its end, without and with outputs, and alone."""
        arms = {
            "transcript": lambda: self.submitted(file, prompts=[]),
            "outputs": lambda: self.submitted(file),
            BARE: lambda: asyncio.to_thread(self.alone, file),
        }
        found: dict[str, list[Times]] = {arm: [] for arm in arms}
        for number in range(-WARM_UPS, rounds):
            for arm in sorted(arms, reverse=bool(number % 2)):
                times = await arms[arm]()
                if number >= 0:
                    found[arm].append(times)
        return found

    async def first_text(self, file: Path, rounds: int) -> tuple[list[float], list[float]]:
        """Measure a long recording until the first text, and alone."""
        submitted_s, alone_s = [], []
        for _ in range(rounds):
            submitted_s.append((await self.submitted(file, prompts=[], only_first=True)).text_s)
            await idle_since(self.worker)
            alone_s.append((await asyncio.to_thread(self.alone, file, only_first=True)).text_s)
        return submitted_s, alone_s

    async def submitted(self, file: Path, *, prompts: Sequence[str] | None = None, only_first: bool = False) -> Times:
        """Submit a recording, and watch it until its end; or until the first text, then cancel it."""
        created = await self.client.create(files=[file], prompts=prompts, submit=False)
        await asyncio.sleep(PAUSE_S)
        seen_s: dict[str, float] = {}
        submitting: asyncio.Task[object] | None = None
        began_s = time.monotonic()
        async with aclosing(self.client.watch(created.id, connection_events=True)) as updates:
            async for update in updates:
                if isinstance(update, smelt.Connected) and submitting is None:
                    began_s = time.monotonic()
                    submitting = asyncio.create_task(self.client.submit(created.id))
                elif isinstance(update, smelt.Progress) and update.status != "pending":
                    seen_s.setdefault("progress", time.monotonic() - began_s)
                elif isinstance(update, smelt.Segments):
                    seen_s.setdefault("text", time.monotonic() - began_s)
                    if only_first:
                        break
        end_s = time.monotonic() - began_s
        if only_first:
            await self.client.cancel(created.id)
        elif (state := await self.client.get(created.id)).status != "completed":
            raise SystemExit(f"the clip is {state.status}")
        return Times(seen_s["text"], end_s, seen_s["progress"])

    def alone(self, file: Path, *, only_first: bool = False) -> Times:
        """Transcribe a recording with the library, to its end or until its first segment."""
        began_s = time.monotonic()
        segments = self.model.transcribe(str(file), vad_filter=True, **SAME)[0]
        next(segments)
        text_s = time.monotonic() - began_s
        for _ in () if only_first else segments:
            pass
        return Times(text_s, time.monotonic() - began_s)


def report_clip(found: dict[str, list[Times]]) -> None:
    """Print the difference of each round, and when the first progress came."""
    alone = found[BARE]
    alone_s = [times.end_s for times in alone]
    for arm, title in (("transcript", "a clip of 5 s"), ("outputs", "a clip of 5 s with outputs")):
        print_medians(
            f"{title}, longer than {BARE}",
            [times.end_s - bare_s for times, bare_s in zip(found[arm], alone_s, strict=True)],
            "s",
            BARE,
            alone_s,
        )
    print_medians(
        "from the submission of a clip to the first progress",
        [times.progress_s for times in found["transcript"]],
        "s",
        f"{BARE}, first text",
        [times.text_s for times in alone],
    )


def model_name(given: str) -> str:
    """Return the name of the demo model, or the absolute path of a folder: a worker has a folder of its own."""
    return given if given == DEMO else str(Path(given).resolve())


async def main(options: argparse.Namespace) -> None:
    """Measure clips, then the first text of a long recording."""
    model = load_model(ModelOptions(name=options.model, compute_type=COMPUTE_TYPE, device="cpu", cpu_threads=THREADS))
    settings = {"SMELT_MODEL": options.model, "SMELT_COMPUTE_TYPE": COMPUTE_TYPE}
    # The same threads in both, and no measurement of what is best.
    settings |= {"SMELT_CPU_THREADS": str(THREADS), "SMELT_MODEL_LANES": "1"}
    with tempfile.TemporaryDirectory(prefix="smelt-bench-") as folder_name:
        folder = Path(folder_name)
        clip = recording(folder / "clip.wav", CLIP_S, options.file)
        long = recording(folder / "long.wav", options.minutes * 60, options.file)
        async with (
            LocalStack() as stack,
            signed_in(stack) as client,
            running_worker(stack, folder, **settings) as worker,
        ):
            bench = Bench(client, worker, model)
            report_clip(await bench.clip(clip, options.rounds))
            submitted_s, alone_s = await bench.first_text(long, options.text_rounds)
    figure = f"from the submission of {options.minutes:g} minutes to the first text"
    print_medians(figure, submitted_s, "s", f"{BARE}, first text", alone_s)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, default=STANDUP)
    parser.add_argument("--model", type=model_name, default=DEMO)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--text-rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=10.0)
    asyncio.run(main(parser.parse_args()))

"""Compare the time, processor time, memory and words of smelt with those of faster-whisper, on a real recording.

    python scripts/bench/speed.py FILE --model FOLDER [--seconds 600] [--pairs 5] [--batch-size 8] [--cpu-threads 1]
        [--only worker]

With `--seconds`, only the beginning of the recording is transcribed.

The part `engine` transcribes the recording in pairs of fresh processes, in alternating order: smelt's engine and
faster-whisper with the same settings, sequentially and in batches. The figures are medians of the ratio of a pair.

The part `worker` compares a worker with the defaults of smelt, once it has measured its threads and lanes, with the
defaults of faster-whisper: for the recording, and for four clips of it, of a minute at most, which faster-whisper
transcribes in turn.
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from bench_common import print_figure, recording, running_worker, signed_in
from faster_whisper import BatchedInferencePipeline, WhisperModel, decode_audio
from transcribe_file import transcribe_file

import smelt
from smelt.contract.state import Created
from smelt.local import LocalStack
from smelt.processor.media.recording import SAMPLE_RATE
from smelt.processor.speech.loaded import model_environment
from smelt.processor.speech.model import load_model
from smelt.processor.speech.transcriber import Transcriber
from smelt.processor.speech.values import ModelOptions, SpeechOptions

MAX_WALL, MAX_CPU = 1.05, 1.03
MAX_ONE, MAX_QUEUE = 0.8, 0.6
CLIPS, CLIP_S = 4, 60
# The settings of smelt: voice detection, five beams, no text of another window, no second try at random.
SAME = {"beam_size": 5, "temperature": 0.0, "condition_on_previous_text": False}


def transcribed(arm: str, files: Sequence[Path], options: argparse.Namespace) -> dict[str, Any]:
    """Transcribe files in this process, one after the other; the model is loaded before."""
    model = load_model(
        ModelOptions(name=str(options.model), compute_type="int8", device="cpu", cpu_threads=options.cpu_threads)
    )
    started_s, started_cpu_s = time.monotonic(), time.process_time()
    texts = [text_of(arm, model, file, options.batch_size) for file in files]
    return {
        "wall_s": time.monotonic() - started_s,
        "cpu_s": time.process_time() - started_cpu_s,
        "words": sum(len(text.split()) for text in texts),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2),
    }


def text_of(arm: str, model: WhisperModel, file: Path, batch_size: int) -> str:
    """Return the text of a file."""
    match arm:
        case "bare":
            segments = model.transcribe(str(file), vad_filter=True, **SAME)[0]
        case "bare-defaults":
            segments = model.transcribe(str(file))[0]
        case "bare-batched":
            segments = BatchedInferencePipeline(model).transcribe(str(file), batch_size=batch_size, **SAME)[0]
        case _:
            speech = SpeechOptions(batch_size=batch_size if arm == "smelt-batched" else 0)
            with tempfile.TemporaryDirectory(prefix="smelt-bench-") as folder:
                segments = transcribe_file(file, Path(folder) / "pcm", Transcriber(model, speech)).segments
    return " ".join(segment.text for segment in segments)


def in_process(arm: str, files: Sequence[Path], options: argparse.Namespace) -> dict[str, Any]:
    """Transcribe files in a fresh process; smelt's has the environment of a model in a worker."""
    command = [sys.executable, __file__, *map(str, files), "--model", str(options.model), "--arm", arm]
    command += ["--batch-size", str(options.batch_size), "--cpu-threads", str(options.cpu_threads)]
    environment = {**os.environ, **(model_environment() if arm.startswith("smelt") else {})}
    ended = subprocess.run(command, check=True, capture_output=True, env=environment)
    printed: dict[str, Any] = json.loads(ended.stdout)
    return printed


def compare_engines(options: argparse.Namespace) -> None:
    """Print the ratios of pairs of processes."""
    for mine, bare in (("smelt", "bare"), ("smelt-batched", "bare-batched")):
        pairs = []
        for number in range(options.pairs):
            order = (mine, bare) if number % 2 else (bare, mine)
            pairs.append({arm: in_process(arm, options.files, options) for arm in order})
        for key, limit in (("wall_s", MAX_WALL), ("cpu_s", MAX_CPU)):
            print_figure(
                f"{mine}: {key} of faster-whisper",
                median(pair[mine][key] / pair[bare][key] for pair in pairs),
                "ratio",
                reference="bar",
                reference_value=limit,
                smelt_s=[round(pair[mine][key], 1) for pair in pairs],
                bare_s=[round(pair[bare][key], 1) for pair in pairs],
            )
        for key in ("words", "peak_mib"):
            value, reference = (median(pair[arm][key] for pair in pairs) for arm in (mine, bare))
            print_figure(f"{mine}: {key}", value, key, reference=bare, reference_value=round(reference))


async def compare_worker(options: argparse.Namespace) -> None:
    """Print the time of a worker, for the recording and for a queue of clips."""
    settings = {"SMELT_MODEL": str(options.model.resolve()), "SMELT_COMPUTE_TYPE": "int8"}
    with tempfile.TemporaryDirectory(prefix="smelt-bench-") as name:
        folder = Path(name)
        clips = cut(options.files[0], folder)
        async with LocalStack() as stack, signed_in(stack) as client, running_worker(stack, folder, **settings):
            # It measures and loads the model meanwhile.
            await finished(client, [await client.create(files=[clips[0]])])
            for figure, files, limit in (
                ("the recording", options.files, MAX_ONE),
                ("four clips", clips, MAX_QUEUE),
            ):
                bare = await asyncio.to_thread(in_process, "bare-defaults", files, options)
                created = [await client.create(files=[file], submit=False) for file in files]
                started_s = time.monotonic()
                for one in created:
                    await client.submit(one.id)
                await finished(client, created)
                print_figure(
                    f"worker: time for {figure}, of the defaults of faster-whisper",
                    (time.monotonic() - started_s) / bare["wall_s"],
                    "ratio",
                    reference="bar",
                    reference_value=limit,
                    smelt_s=round(time.monotonic() - started_s, 1),
                    bare_s=round(bare["wall_s"], 1),
                )


async def finished(client: smelt.Client, created: Sequence[Created]) -> None:
    """Wait until all smelts are completed."""
    await asyncio.gather(*(client.wait(one.id) for one in created))


def cut(source: Path, folder: Path) -> list[Path]:
    """Write the clips of a recording."""
    samples = decode_audio(str(source), sampling_rate=SAMPLE_RATE)
    clips = [folder / f"clip{number}.wav" for number in range(CLIPS)]
    length = min(CLIP_S * SAMPLE_RATE, len(samples) // CLIPS)
    for number, clip in enumerate(clips):
        part = samples[number * length : (number + 1) * length]
        with wave.open(str(clip), "wb") as target:
            target.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
            target.writeframes((np.clip(part, -1, 1) * 32767).astype("<i2").tobytes())
    return clips


def main(options: argparse.Namespace) -> None:
    """Run one arm, or compare."""
    if options.arm:
        print(json.dumps(transcribed(options.arm, options.files, options)))
        return
    with tempfile.TemporaryDirectory(prefix="smelt-bench-") as folder:
        if options.seconds:
            options.files = [recording(Path(folder) / file.name, options.seconds, file) for file in options.files]
        if options.only != "worker":
            compare_engines(options)
        if options.only != "engine":
            asyncio.run(compare_worker(options))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--cpu-threads", type=int, default=0, help="0: the default of CTranslate2")
    parser.add_argument("--only", choices=("engine", "worker"))
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    main(parser.parse_args())

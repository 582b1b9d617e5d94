"""Measure the diarization error rate of recordings with known turns, and the time and memory that it takes.

    python scripts/bench/speakers.py FOLDER MODEL [--only RECORDING...]

FOLDER has recordings, each with `NAME.json` beside it: a list of turns {"start", "end", "spk"}, or {"file"} named
`SPEAKER-...`. MODEL is an ONNX file (`scripts/speaker-model`). The reference of each is that all speech is of one
speaker. Prints a line of JSON per recording, and exits with 1 if one misses its bar.
"""

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from bench_common import print_figure
from faster_whisper import decode_audio
from speakers_scoring import KnownTurn, score

from smelt.processor.media.recording import SAMPLE_RATE, Recording
from smelt.processor.speakers.finder import SpeakerFinder

# Calls of two speakers, and readings of more.
BARS = {2: 0.06}
OTHER_BAR = 0.09


def known_turns(beside: Path) -> list[KnownTurn]:
    """Read the known turns beside a recording."""
    turns = json.loads(beside.read_text())
    return [(turn["start"], turn["end"], turn.get("spk") or turn["file"].partition("-")[0]) for turn in turns]


def decoded(source: Path, folder: Path) -> Recording:
    """Decode a recording for the processor."""
    samples = decode_audio(str(source), sampling_rate=SAMPLE_RATE)
    path = folder / f"{source.name}.pcm"
    (samples * 32767).astype(np.int16).tofile(path)
    return Recording(path, len(samples))


def recordings(folder: Path, only: Sequence[str]) -> list[tuple[Path, Path]]:
    """Return the recordings of a folder with the files of their known turns; all, or those with these names."""
    pairs = [(path, path.with_suffix(".json")) for path in sorted(folder.iterdir()) if path.suffix != ".json"]
    return [
        (path, beside)
        for path, beside in pairs
        if (not only or path.name in only) and beside.exists() and isinstance(json.loads(beside.read_text()), list)
    ]


async def main(folder: Path, model: Path, only: Sequence[str]) -> int:
    """Measure each recording; return the exit code."""
    missed = 0
    for source, beside in recordings(folder, only):
        with tempfile.TemporaryDirectory() as work:
            recording = decoded(source, Path(work))
            started_s = time.monotonic()
            found = await SpeakerFinder(model).find(recording, lambda _share: None)
            seconds = time.monotonic() - started_s
        known, duration_s = known_turns(beside), recording.duration_s
        turns = [(turn.start, turn.end, str(turn.speaker)) for turn in found.turns]
        error = score(known, turns, duration_s)
        speakers = len({speaker for _, _, speaker in known})
        bar = BARS.get(speakers, OTHER_BAR)
        missed += error.rate > bar
        print_figure(
            f"diarization error of {source.name}", error.rate, "rate", reference="one speaker",
            reference_value=score(known, [(start, end, "") for start, end, _ in turns], duration_s).rate,
            missed=round(error.missed, 4), false_alarm=round(error.false_alarm, 4), confused=round(error.confused, 4),
            goal=bar, met=error.rate <= bar,
            speakers=speakers, speakers_found=len({turn.speaker for turn in found.turns}),
            uncertain=round(found.uncertain, 3), audio_s=round(duration_s, 1),
            seconds_per_audio_s=round(seconds / duration_s, 4),
            # The largest child so far.
            peak_mib=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
        )  # fmt: skip
    return int(missed > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--only", nargs="+", default=[])
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.folder, given.model, given.only)))

"""Measure the memory of a worker: with long recordings, and over many smelts in a row.

    python scripts/bench/memory.py [--hours 1 3] [--count 200]

The memory of the worker, and the sum of its children, is without pages that processes share (USS). The peaks are those
of a worker that transcribes one recording and exits; the reference is a recording of 3 minutes, and the documented
limit 150 MiB more, however long the recording. Over many clips of 5 seconds, the memory after each is sampled; the
figures are the medians of the last quarter and, as the reference, of the first one.

The model is that of the demo, unless `SMELT_MODEL` names another one: it needs little memory, so that growth shows.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
from bench_common import print_figure, print_medians, recording, running_worker, signed_in, start_worker

import smelt
from smelt.local import LocalStack

SHORT_S: Final = 180.0
CLIP_S: Final = 5.0
SAMPLE_INTERVAL_S: Final = 0.2
MIB: Final = 1 << 20


@dataclass(frozen=True)
class Memory:
    """The memory of a worker and of its children, in MiB."""

    worker: float
    children: float


async def main(hours: Sequence[float], count: int) -> None:
    """Transcribe the short recording, the long ones, then the clips."""
    with tempfile.TemporaryDirectory(prefix="smelt-bench-") as name:
        folder = Path(name)
        async with LocalStack() as stack, signed_in(stack) as client:
            short = await peak(stack, client, folder, SHORT_S)
            for long_h in hours:
                report_peak(f"{long_h:g} h", await peak(stack, client, folder, long_h * 3600), short)
            report_row(await after_each(stack, client, folder, count))


def report_peak(recording_length: str, long: Memory, short: Memory) -> None:
    """Print the peaks with a long recording."""
    for of, value, reference_value in (
        ("a worker", long.worker, short.worker),
        ("its children", long.children, short.children),
    ):
        print_figure(
            f"peak memory of {of} with {recording_length}", value, "MiB",
            reference="3 minutes", reference_value=reference_value, more_mib=round(value - reference_value, 1),
        )  # fmt: skip


def report_row(found: Sequence[Memory]) -> None:
    """Print the memory after the last quarter of the smelts, compared with the first one."""
    quarter = len(found) // 4
    for of in ("worker", "children"):
        first, last = ([getattr(memory, of) for memory in part] for part in (found[:quarter], found[-quarter:]))
        figure = f"memory of the {of} after {len(found)} smelts in a row, last {quarter}"
        print_medians(figure, last, "MiB", f"first {quarter}", first)


async def peak(stack: LocalStack, client: smelt.Client, folder: Path, seconds: float) -> Memory:
    """Return the peak memory of a worker that transcribes one recording and exits."""
    file = await asyncio.to_thread(recording, folder / "speech.wav", seconds)
    created = await client.create(files=[file])
    worker = start_worker(stack, folder, "--once")
    highest = Memory(0, 0)
    while worker.poll() is None:
        now = used(psutil.Process(worker.pid))
        highest = Memory(max(highest.worker, now.worker), max(highest.children, now.children))
        await asyncio.sleep(SAMPLE_INTERVAL_S)
    assert worker.returncode == 0, (folder / "worker.log").read_text()
    assert (await client.get(created.id)).status == "completed"
    return highest


async def after_each(stack: LocalStack, client: smelt.Client, folder: Path, count: int) -> list[Memory]:
    """Return the memory of one worker after each of many clips."""
    clip = recording(folder / "clip.wav", CLIP_S)
    found = []
    async with running_worker(stack, folder) as worker:
        for _ in range(count):
            await client.wait((await client.create(files=[clip])).id)
            found.append(used(worker))
    return found


def used(worker: psutil.Process) -> Memory:
    """Return the present memory of a worker and its children; those that have exited have none."""
    own = children = 0
    with suppress(psutil.NoSuchProcess):
        own = worker.memory_full_info().uss
        for child in worker.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                children += child.memory_full_info().uss
    return Memory(own / MIB, children / MIB)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, nargs="+", default=[1.0, 3.0])
    parser.add_argument("--count", type=int, default=200)
    given = parser.parse_args()
    asyncio.run(main(given.hours, given.count))

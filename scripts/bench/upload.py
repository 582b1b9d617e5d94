"""Measure resumable uploads to the embedded Storage: memory of the client and of the gateway, and time.

    python scripts/bench/upload.py [--mib 490]

Prints one line of JSON for each figure. The reference is an upload of 20 MiB in the same run: memory must not grow with
the size of the file.
"""

import argparse
import asyncio
import contextlib
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from bench_common import print_figure, signed_in

import smelt
from smelt.local import LocalStack

REFERENCE_MIB = 20
SAMPLE_S = 0.05


@dataclass(frozen=True)
class Cost:
    """The cost of an upload: memory that client and gateway took beyond what they had, and the time."""

    client_mib: float
    gateway_mib: float
    seconds: float


async def main(mib: int) -> None:
    """Upload a small and a large file."""
    with tempfile.TemporaryDirectory(prefix="smelt-bench-") as name:
        folder = Path(name)
        async with LocalStack() as stack, signed_in(stack) as client:
            gateways = gateway_processes()
            await upload(client, random_file(folder / "first.wav", 1), gateways)
            small = await upload(client, random_file(folder / "small.wav", REFERENCE_MIB), gateways)
            large = await upload(client, random_file(folder / "large.wav", mib), gateways)
    reference = f"an upload of {REFERENCE_MIB} MiB"
    for part, value, small_value in (
        ("client", large.client_mib, small.client_mib),
        ("gateway", large.gateway_mib, small.gateway_mib),
    ):
        print_figure(
            f"memory that the {part} takes for an upload of {mib} MiB",
            value,
            "mib",
            reference=reference,
            reference_value=round(small_value, 3),
        )
    print_figure(
        "seconds per 100 MiB",
        large.seconds / mib * 100,
        "s",
        reference=reference,
        reference_value=round(small.seconds / REFERENCE_MIB * 100, 3),
    )


def random_file(path: Path, mib: int) -> Path:
    """Write a file of random bytes, which no layer can compress; return its path."""
    with path.open("wb") as file:
        for _ in range(mib):
            file.write(os.urandom(1 << 20))
    return path


def gateway_processes() -> list[psutil.Process]:
    """Return the processes of the embedded stack that are written in Python: those of its supervisor and gateway."""
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if any("smelt.local" in part for part in child.cmdline())
    ]


async def upload(client: smelt.Client, path: Path, gateways: list[psutil.Process]) -> Cost:
    """Upload a file to a new smelt, which is deleted afterwards; return what it took."""
    own = psutil.Process()
    before = (own.memory_info().rss, rss(gateways))
    peaks = list(before)

    async def sample() -> None:
        while True:
            peaks[0], peaks[1] = max(peaks[0], own.memory_info().rss), max(peaks[1], rss(gateways))
            await asyncio.sleep(SAMPLE_S)

    sampling = asyncio.create_task(sample())
    began_s = time.monotonic()
    try:
        created = await client.create(files=[path], submit=False)
    finally:
        sampling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sampling
    seconds = time.monotonic() - began_s
    await client.delete(created.id)
    client_mib, gateway_mib = ((peak - start) / (1 << 20) for peak, start in zip(peaks, before, strict=True))
    return Cost(client_mib, gateway_mib, seconds)


def rss(processes: list[psutil.Process]) -> int:
    """Return the resident bytes of processes."""
    return sum(process.memory_info().rss for process in processes)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=490)
    asyncio.run(main(parser.parse_args().mib))

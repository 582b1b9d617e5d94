"""Measure resumable uploads to the embedded Storage: memory of the client and of the gateway, and time.

    python scripts/bench/upload.py [--mib 500]

The client is that of Python, then `<smelt-upload>` in a page in Chromium, which needs `npm install` in tests/js. Prints
one line of JSON for each figure. The reference is an upload of 20 MiB in the same run: memory must not grow with the
size of the file.
"""

import argparse
import asyncio
import contextlib
import json
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from bench_common import print_figure, signed_in

import smelt
from smelt.local import LocalStack

REFERENCE_MIB = 20
SAMPLE_S = 0.05
START_TIMEOUT_S = 60.0
UPLOAD_TIMEOUT_S = 600.0
JS = Path(__file__).parents[2] / "tests" / "js"

Upload = Callable[[Path], Awaitable[None]]


@dataclass(frozen=True)
class Cost:
    """The cost of an upload: memory beyond what client and gateway had, at the peak and at the end, and the time."""

    client_mib: float
    gateway_mib: float
    client_kept_mib: float
    gateway_kept_mib: float
    seconds: float


async def main(mib: int) -> None:
    """Upload a small and a large file with each client."""
    with tempfile.TemporaryDirectory(prefix="smelt-bench-") as name:
        sizes = {"first": 1, "small": REFERENCE_MIB, "large": mib}
        files = [random_file(Path(name) / f"{size}.wav", size_mib) for size, size_mib in sizes.items()]
        async with LocalStack() as stack:
            gateways = gateway_processes()
            async with signed_in(stack) as client:
                print_costs("Python client", mib, *await costs(uploading(client), files, [psutil.Process()], gateways))
            async with page(stack) as (upload, processes):
                print_costs("page", mib, *await costs(upload, files, processes, gateways))


def print_costs(client: str, mib: int, small: Cost, large: Cost) -> None:
    """Print the figures of a client."""
    reference = f"an upload of {REFERENCE_MIB} MiB"
    for part, value, small_value in (
        (f"{client} takes for", large.client_mib, small.client_mib),
        (f"{client} keeps after", large.client_kept_mib, small.client_kept_mib),
        (f"gateway with the {client} takes for", large.gateway_mib, small.gateway_mib),
        (f"gateway with the {client} keeps after", large.gateway_kept_mib, small.gateway_kept_mib),
    ):
        print_figure(
            f"memory that the {part} an upload of {mib} MiB",
            value,
            "mib",
            reference=reference,
            reference_value=round(small_value, 3),
        )
    print_figure(
        f"seconds per 100 MiB of the {client}",
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


def uploading(client: smelt.Client) -> Upload:
    """Return a function that uploads a file with the Python client to a new smelt, which is deleted afterwards."""

    async def upload(path: Path) -> None:
        created = await client.create(files=[path], submit=False)
        await client.delete(created.id)

    return upload


@asynccontextmanager
async def page(stack: LocalStack) -> AsyncIterator[tuple[Upload, list[psutil.Process]]]:
    """Open a page with `<smelt-upload>`; yield a function that uploads a file with it, and Chromium's processes."""
    process = await asyncio.create_subprocess_exec(
        *("node", "elements/uploader.mjs"),
        cwd=JS,
        env={**os.environ, **stack.env()},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        ready = await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT_S)
        assert ready == b"ready\n", "the page did not start"
        stdin, stdout = process.stdin, process.stdout

        async def upload(path: Path) -> None:
            stdin.write(f"{path}\n".encode())
            outcome = json.loads(await asyncio.wait_for(stdout.readline(), UPLOAD_TIMEOUT_S))
            assert "error" not in outcome, outcome["error"]

        yield upload, psutil.Process(process.pid).children(recursive=True)
    finally:
        process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), START_TIMEOUT_S)
        if process.returncode is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()


async def costs(
    upload: Upload, files: list[Path], clients: list[psutil.Process], gateways: list[psutil.Process]
) -> tuple[Cost, Cost]:
    """Upload a first file, then a small and a large one; return the costs of these two."""
    _, small, large = [await cost(upload, path, clients, gateways) for path in files]
    return small, large


async def cost(upload: Upload, path: Path, clients: list[psutil.Process], gateways: list[psutil.Process]) -> Cost:
    """Upload a file; return what it took."""
    before = (rss(clients), rss(gateways))
    peaks = list(before)

    async def sample() -> None:
        while True:
            peaks[0], peaks[1] = max(peaks[0], rss(clients)), max(peaks[1], rss(gateways))
            await asyncio.sleep(SAMPLE_S)

    sampling = asyncio.create_task(sample())
    began_s = time.monotonic()
    try:
        await upload(path)
    finally:
        sampling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sampling
    seconds = time.monotonic() - began_s
    after = (rss(clients), rss(gateways))
    mib = [(end - start) / (1 << 20) for ends in (peaks, after) for end, start in zip(ends, before, strict=True)]
    return Cost(*mib, seconds)


def rss(processes: list[psutil.Process]) -> int:
    """Return the resident bytes of those processes that still run."""
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=500)
    asyncio.run(main(parser.parse_args().mib))

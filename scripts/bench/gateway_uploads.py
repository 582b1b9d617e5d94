"""Measure uploads through the gateway: memory of `smelt serve`, lost uploads, and requests of others meanwhile.

    python scripts/bench/gateway_uploads.py [--count 24] [--mib 100] [--parallel 8]

Prints one line of JSON for each figure. The reference are uploads of 1 MiB in the same run: memory must not grow with
the size of the files.
"""

import argparse
import asyncio
import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
from bench_common import print_figure

from smelt.local import LocalStack

MIB = 1 << 20
SAMPLE_S = 0.05
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
END = b"\r\n--b--\r\n"


@dataclass(frozen=True)
class Cost:
    """The cost of uploads: memory that the gateway took beyond what it had, the time, and what went wrong."""

    memory_mib: float
    seconds: float
    lost_count: int
    slowest_other_s: float


async def main(count: int, mib: int, parallel: int) -> None:
    """Upload small files, then large ones."""
    with tempfile.TemporaryDirectory(prefix="smelt-bench-") as name:
        async with LocalStack() as stack, gateway(stack, Path(name)) as (process, http):
            await uploads(process, http, parallel, 1, parallel)
            small = await uploads(process, http, count, 1, parallel)
            large = await uploads(process, http, count, mib, parallel)
    reference = f"{count} uploads of 1 MiB"
    print_figure(
        f"memory that the gateway takes for {count} uploads of {mib} MiB, {parallel} at a time",
        large.memory_mib,
        "mib",
        reference=reference,
        reference_value=round(small.memory_mib, 3),
    )
    print_figure("lost uploads", large.lost_count, "count", reference="none lost", reference_value=0)
    print_figure(
        "seconds per 100 MiB",
        large.seconds / (count * mib) * 100,
        "s",
        reference=reference,
        reference_value=round(small.seconds / count * 100, 3),
    )
    print_figure(
        "slowest request of others meanwhile",
        large.slowest_other_s,
        "s",
        reference=reference,
        reference_value=round(small.slowest_other_s, 3),
    )


@asynccontextmanager
async def gateway(stack: LocalStack, folder: Path) -> AsyncIterator[tuple[psutil.Process, httpx.AsyncClient]]:
    """Run `smelt serve`; yield its process, and an HTTP client of a new user."""
    log = folder / "gateway.log"
    process = start_gateway(stack, log)
    try:
        while not (found := re.search(r"listens at (http://\S+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            await asyncio.sleep(SAMPLE_S)
        async with httpx.AsyncClient(base_url=stack.api_url, headers={"apikey": stack.anon_key}) as auth:
            account = {"email": f"{uuid4()}@example.com", "password": str(uuid4())}
            token = (await auth.post("/auth/v1/signup", json=account)).raise_for_status().json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=found[1], headers=headers, timeout=600) as http:
            yield psutil.Process(process.pid), http
    finally:
        process.terminate()
        process.wait(60)


def start_gateway(stack: LocalStack, log: Path) -> subprocess.Popen[bytes]:
    """Start `smelt serve`, with its temporary files beside its log."""
    command = [sys.executable, "-m", "smelt", "serve", "--port", "0"]
    env = {**os.environ, **stack.env(), "TMPDIR": str(log.parent)}
    with log.open("wb") as sink:
        return subprocess.Popen(command, env=env, stdout=sink, stderr=sink)


async def uploads(process: psutil.Process, http: httpx.AsyncClient, count: int, mib: int, parallel: int) -> Cost:
    """Upload files, and read the list meanwhile; return what it took."""
    before = peak = process.memory_info().rss
    slowest_s = 0.0
    places = asyncio.Semaphore(parallel)

    async def sample() -> None:
        nonlocal peak, slowest_s
        while True:
            peak = max(peak, process.memory_info().rss)
            began_s = time.monotonic()
            await http.get("/api/smelts?limit=1")
            slowest_s = max(slowest_s, time.monotonic() - began_s)
            await asyncio.sleep(SAMPLE_S)

    async def upload() -> bool:
        async with places:
            form = {"Content-Type": "multipart/form-data; boundary=b"}
            response = await http.post("/api/smelts", content=body(mib), headers=form)
            if response.status_code != 201:
                return False
            created = response.json()
            await http.delete(f"/api/smelts/{created['id']}")
            return bool(created["files"][0]["size_bytes"] == mib * MIB)

    sampling = asyncio.create_task(sample())
    began_s = time.monotonic()
    done = await asyncio.gather(*(upload() for _ in range(count)))
    seconds = time.monotonic() - began_s
    sampling.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sampling
    return Cost((peak - before) / MIB, seconds, done.count(False), slowest_s)


async def body(mib: int) -> AsyncIterator[bytes]:
    """Yield a form with one file of random bytes, which no layer can compress."""
    yield HEAD
    part = os.urandom(MIB)
    for _ in range(mib):
        yield part
    yield END


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--mib", type=int, default=100)
    parser.add_argument("--parallel", type=int, default=8)
    given = parser.parse_args()
    asyncio.run(main(given.count, given.mib, given.parallel))

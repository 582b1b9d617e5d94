"""Measure many event streams of one gateway: memory per stream, and the time from a commit to the last stream.

    python scripts/bench/streams.py [--streams 500] [--reports 20] [--settle-s 15]

Prints one line of JSON for each figure. The gateway is a process of its own; its streams follow the same smelt, or one
smelt each. Memory is the growth of the process for each stream; its reference is a bare `StreamingResponse` with as
many connections. The reference for the time is a single stream of the same gateway.
"""

import argparse
import asyncio
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import psutil
import psycopg
from bench_common import print_figure

from smelt.backend.project import Project
from smelt.local import LocalStack
from smelt.settings import LocalSettings
from tests.harness.scripted_worker import ScriptedWorker
from tests.harness.stacks import Stack, User, running, sign_up

TIMEOUT_S = 120.0
BARE = """
import asyncio, sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

async def events(request):
    async def frames():
        yield b"retry: 2000\\n\\n"
        await asyncio.Event().wait()
    return StreamingResponse(frames(), media_type="text/event-stream")

app = Starlette(routes=[Route("/{path:path}", events)])
uvicorn.run(app, port=int(sys.argv[1]), log_level="info", access_log=False)
"""


def main(streams: int, reports: int, settle_s: float) -> None:
    """Measure against one stack."""
    local = LocalStack(postgrest=LocalSettings.read().postgrest)
    with running(local) as stack, tempfile.TemporaryDirectory() as folder:
        user = sign_up(stack)
        with psycopg.connect(stack.db_url, autocommit=True) as connection:
            connection.execute("update smelt.limits set max_open = %s", (streams + 10,))
        with bare_server(Path(folder)) as (url, process):
            bare_kb = asyncio.run(memory(url, process, user, ["bare"], streams, settle_s))
        for name, count in (("of one smelt", 1), (f"of {streams} smelts", streams)):
            with gateway(stack, Path(folder)) as (url, process):
                ids = asyncio.run(create(url, user, count))
                kilobytes = asyncio.run(
                    memory(url, process, user, [f"api/smelts/{one}/events" for one in ids], streams, settle_s)
                )
            print_figure(
                f"{streams} streams {name}, memory of a stream",
                kilobytes,
                "kb",
                reference="a bare StreamingResponse",
                reference_value=round(bare_kb, 1),
            )
        with gateway(stack, Path(folder)) as (url, _):
            one, many = (asyncio.run(latency(stack, url, user, count, reports)) for count in (1, streams))
        print_figure(
            f"{streams} streams of one smelt, from the commit to the last stream, median of {reports} reports",
            statistics.median(many),
            "s",
            reference="one stream",
            reference_value=round(statistics.median(one), 3),
            worst=round(max(many), 3),
        )


async def create(url: str, user: User, count: int) -> list[str]:
    """Create smelts; return their ids."""
    async with http_client(url, user) as http:
        limit = asyncio.Semaphore(8)

        async def one() -> str:
            async with limit:
                return str((await http.post("/api/smelts", json={"text": "Ship it."})).raise_for_status().json()["id"])

        return await asyncio.gather(*(one() for _ in range(count)))


async def memory(
    url: str, process: psutil.Process, user: User, paths: Sequence[str], count: int, settle_s: float
) -> float:
    """Open the streams; return the growth of the process for each of them, in KB."""
    async with AsyncExitStack() as opened:
        for number in range(10):  # The first streams import modules and open connections.
            await opened.enter_async_context(reader(url, user, paths[number % len(paths)]))
        await asyncio.sleep(settle_s)
        before = process.memory_info().rss
        for number in range(count):
            await opened.enter_async_context(reader(url, user, paths[number % len(paths)]))
        await asyncio.sleep(settle_s)
        return (process.memory_info().rss - before) / 1024 / count


async def latency(stack: Stack, url: str, user: User, count: int, reports: int) -> list[float]:
    """Return for each report the seconds from its commit until the last stream has the event."""
    [smelt_id] = await create(url, user, 1)
    async with Project(stack.api_url, stack.service_role_key) as project, AsyncExitStack() as opened:
        job = await ScriptedWorker(project).claim(UUID(smelt_id))
        readers = [
            await opened.enter_async_context(reader(url, user, f"api/smelts/{smelt_id}/events")) for _ in range(count)
        ]
        await asyncio.sleep(2)
        seconds = []
        for number in range(reports):
            waiting = asyncio.gather(*(until(one, f"word {number}".encode()) for one in readers))
            began = time.monotonic()  # The event is broadcast after the commit, by this process.
            await job.report("transcribing", 21.0 + number, words=[f"word {number}"], first=number)
            async with asyncio.timeout(TIMEOUT_S):
                seconds.append(max(await waiting) - began)
            await asyncio.sleep(0.2)
        return seconds


async def until(stream: asyncio.StreamReader, text: bytes) -> float:
    """Read until a line contains the text; return the time."""
    while text not in await stream.readline():
        pass
    return time.monotonic()


@asynccontextmanager
async def reader(url: str, user: User, path: str) -> AsyncIterator[asyncio.StreamReader]:
    """Open a stream, and read its first line; a connection without a library costs this process little."""
    parts = urlsplit(url)
    stream, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 22)
    writer.write(f"GET /{path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {user.access_token}\r\n\r\n".encode())
    try:
        async with asyncio.timeout(TIMEOUT_S):
            status = await stream.readline()
            assert b" 200 " in status, status
            while not (await stream.readline()).startswith(b"retry:"):
                pass
        yield stream
    finally:
        writer.close()


def http_client(url: str, user: User) -> httpx.AsyncClient:
    """Return an HTTP client of the gateway."""
    return httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {user.access_token}"}, timeout=60)


@contextmanager
def gateway(stack: Stack, folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Run `smelt serve`."""
    more = {"SMELT_GATEWAY_MAX_STREAMS": "2000", "SMELT_GATEWAY_MAX_STREAMS_PER_CALLER": "2000", "SMELT_DRAIN_S": "5"}
    command = [sys.executable, "-m", "smelt", "serve", "--port", "0"]
    with started(command, {**stack.env(), **more}, folder / "gateway.log", r"listens at (http://\S+)") as running:
        yield running


@contextmanager
def bare_server(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Run a server of streams that do nothing."""
    command = [sys.executable, "-c", BARE, "0"]
    with started(command, {}, folder / "bare.log", r"running on (http://[\d.:]+)") as running:
        yield running


@contextmanager
def started(
    command: Sequence[str], env: dict[str, str], log: Path, address: str
) -> Iterator[tuple[str, psutil.Process]]:
    """Run a server until the end of the block; yield its URL and its process."""
    with log.open("wb") as sink:
        process = subprocess.Popen(command, env={**os.environ, **env}, stdout=sink, stderr=sink, cwd=log.parent)
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while (found := re.search(address, log.read_text())) is None:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield found[1], psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--reports", type=int, default=20)
    parser.add_argument("--settle-s", type=float, default=15.0)
    given = parser.parse_args()
    main(given.streams, given.reports, given.settle_s)

"""Measure a thousand watches of one client: memory per watch, sockets, seconds until all are joined, and requests per
second without Realtime.

    python scripts/bench/watch_memory.py [--watches 1000] [--polled-s 60]

Prints one line of JSON for each figure. The reference is the official client alone, which joins the same channels, a
hundred on each socket, and keeps no state; each is measured in its own process against the same embedded stack. The
client limits its joins to half of the rate that the platform's smallest plan allows all clients of a project: that is
most of the time until all are joined.
"""

import argparse
import asyncio
import gc
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import psutil
import psycopg
from bench_common import print_figure
from realtime import AsyncRealtimeClient

from smelt.backend.realtime import RealtimeTimings
from smelt.local import LocalStack
from smelt.settings import LocalSettings
from smelt.subscriber.client import connect
from tests.harness.proxies import faulty_proxy
from tests.harness.stacks import running, sign_up

OFFICIAL = "official client alone"
CREATED_AT_ONCE = 8
CHANNELS_A_SOCKET = 100
TIMEOUT_S = 180


@dataclass(frozen=True)
class Cost:
    """The cost of all watches."""

    kilobytes_each: float
    sockets: int
    joined_s: float


def main(watches: int, polled_s: float) -> None:
    """Measure both against one stack."""
    with running(LocalStack(postgrest=LocalSettings.read().postgrest)) as stack:
        with psycopg.connect(stack.db_url, autocommit=True) as connection:
            connection.execute("update smelt.limits set max_open = %s", (watches,))
        access = (stack.api_url, stack.anon_key, sign_up(stack).access_token)
        ids = in_a_process_of_its_own(create_all, *access, watches)
        ours = in_a_process_of_its_own(watch_all, *access, ids)
        bare = in_a_process_of_its_own(join_all, *access, ids)
        requests = in_a_process_of_its_own(poll_all, *access, ids, polled_s)
    joins_per_s = RealtimeTimings().joins_per_second  # The joins of the first second are not delayed.
    limit_s = (watches - joins_per_s) / joins_per_s
    for figure, value, unit, reference, reference_value in (
        ("memory of a watch", ours.kilobytes_each, "KB", OFFICIAL, bare.kilobytes_each),
        ("sockets", ours.sockets, "sockets", OFFICIAL, bare.sockets),
        ("until all are joined", ours.joined_s, "seconds", OFFICIAL, bare.joined_s),
        ("until all are joined", ours.joined_s, "seconds", "the rate limit of joins", limit_s),
        ("without Realtime", requests / polled_s, "requests/s", "one request a second", 1.0),
    ):
        print_figure(f"{watches} watches, {figure}", value, unit, reference=reference, reference_value=reference_value)


def in_a_process_of_its_own(work, *arguments):
    """Run a coroutine function in a new process, in which nothing else has used memory; return its result."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run, work, *arguments).result()


def run(work, *arguments):
    """Run the coroutine function in the new process."""
    return asyncio.run(work(*arguments))


async def create_all(url: str, key: str, token: str, count: int) -> list[str]:
    """Create the smelts; return their ids."""
    limit = asyncio.Semaphore(CREATED_AT_ONCE)
    async with connect(url, key, token) as client:

        async def create(number: int) -> str:
            async with limit:
                return str((await client.create(text=f"Text {number}")).id)

        return await asyncio.gather(*(create(number) for number in range(count)))


async def watch_all(url: str, key: str, token: str, ids: Sequence[str]) -> Cost:
    """Watch all smelts with one client until each watch has its first update and is joined."""
    async with connect(url, key, token) as client:
        await (warm := client.watch(ids[0])).__anext__()
        await warm.aclose()
        before_kb = resident_kb()
        began = time.monotonic()
        watches = [client.watch(one) for one in ids]
        await asyncio.gather(*(anext(watch) for watch in watches))
        await reached(lambda: client.diagnostics().connection.joined_count == len(ids))
        joined_s = time.monotonic() - began
        cost = Cost((resident_kb() - before_kb) / len(ids), client.diagnostics().connection.socket_count, joined_s)
        for watch in watches:
            await watch.aclose()
        return cost


async def poll_all(url: str, key: str, token: str, ids: Sequence[str], seconds: float) -> int:
    """Watch all smelts while Realtime is unreachable; return the number of requests."""
    async with faulty_proxy(url) as proxy, connect(proxy.url, key, token) as client:
        proxy.reject("realtime")
        watches = [client.watch(one) for one in ids]
        await asyncio.gather(*(anext(watch) for watch in watches))
        before = client.diagnostics().read_count
        await asyncio.sleep(seconds)
        requests = client.diagnostics().read_count - before
        for watch in watches:
            await watch.aclose()
        return requests


async def join_all(url: str, key: str, token: str, ids: Sequence[str]) -> Cost:
    """Join the same channels with the official client."""
    before_kb = resident_kb()
    began = time.monotonic()
    sockets = []
    for start in range(0, len(ids), CHANNELS_A_SOCKET):
        socket = AsyncRealtimeClient(f"{url}/realtime/v1", key)
        await socket.connect()
        await socket.set_auth(token)
        channels = [
            socket.channel(f"smelt:{one}", {"config": {"private": True, "broadcast": None, "presence": None}})
            for one in ids[start : start + CHANNELS_A_SOCKET]
        ]
        await asyncio.gather(*(channel.subscribe() for channel in channels))
        sockets.append(socket)
    cost = Cost((resident_kb() - before_kb) / len(ids), len(sockets), time.monotonic() - began)
    for socket in sockets:
        await socket.close()
    return cost


async def reached(condition) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110 - The condition is a figure in a report.
            await asyncio.sleep(0.05)


def resident_kb() -> float:
    """Return the resident memory of this process."""
    gc.collect()
    return psutil.Process(os.getpid()).memory_info().rss / 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--watches", type=int, default=1000)
    parser.add_argument("--polled-s", type=float, default=60.0)
    given = parser.parse_args()
    main(given.watches, given.polled_s)

"""What a thousand watches of one client cost: memory a watch, sockets, seconds until all are joined, and how many
requests a second there are without Realtime.

Prints one line of JSON for each figure. The reference is the official client alone, which joins the same channels, a
hundred a socket, and keeps no state; each is measured in a process of its own against the same embedded stack. Joins
follow one another at the client's pace, half of what the platform's smallest plan takes from all clients of a project:
that alone is most of the time until all are joined.
"""

import asyncio
import gc
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from realtime import AsyncRealtimeClient

from smelt.backend.realtime import RealtimeTimings
from smelt.local import LocalStack
from smelt.subscriber.client import connect

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from proxies import faulty_proxy
from stacks import running, sign_up

WATCHES = 1000
CREATED_AT_ONCE = 8
CHANNELS_A_SOCKET = 100
WITHIN_S = 180
POLLED_S = 60


@dataclass(frozen=True)
class Cost:
    """What it took."""

    kilobytes_each: float
    sockets: int
    joined_s: float


def main() -> None:
    """Measure both against one stack."""
    with running(LocalStack.from_env()) as stack:
        with psycopg.connect(stack.db_url, autocommit=True) as connection:
            connection.execute("update smelt.limits set max_open = %s", (WATCHES,))
        access = (stack.api_url, stack.anon_key, sign_up(stack).access_token)
        ids = in_a_process_of_its_own(create_all, *access)
        ours = in_a_process_of_its_own(watch_all, *access, ids)
        bare = in_a_process_of_its_own(join_all, *access, ids)
        requests = in_a_process_of_its_own(poll_all, *access, ids)
    tell("KB a watch", ours.kilobytes_each, bare.kilobytes_each)
    tell("sockets", ours.sockets, bare.sockets)
    tell("seconds until all are joined", ours.joined_s, bare.joined_s)
    pace = RealtimeTimings().joins_per_second  # What is joined within the first second may go at once.
    tell("seconds until all are joined", ours.joined_s, (WATCHES - pace) / pace, "the pace of joins")
    tell("requests a second without Realtime", requests / POLLED_S, 1.0, "one request a second")


def tell(figure: str, value: float, reference: float, name: str = "official client alone") -> None:
    """Print one figure."""
    line = {"figure": f"{WATCHES} watches, {figure}", "value": round(value, 2), "reference": name}
    print(
        json.dumps({**line, "reference_value": round(reference, 1), "ratio": round(value / reference, 2)}), flush=True
    )


def in_a_process_of_its_own(work, *arguments):
    """Run a coroutine function where nothing else has used memory before."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run, work, *arguments).result()


def run(work, *arguments):
    """The work of the process."""
    return asyncio.run(work(*arguments))


async def create_all(url: str, key: str, token: str) -> list[str]:
    """Create the smelts that are watched."""
    limit = asyncio.Semaphore(CREATED_AT_ONCE)
    async with connect(url, key, token) as client:

        async def create(number: int) -> str:
            async with limit:
                return str((await client.create(text=f"Text {number}")).id)

        return await asyncio.gather(*(create(number) for number in range(WATCHES)))


async def watch_all(url: str, key: str, token: str, ids: Sequence[str]) -> Cost:
    """Watch all of them with one client, until each has told where it is and is joined."""
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


async def poll_all(url: str, key: str, token: str, ids: Sequence[str]) -> int:
    """Watch all of them where Realtime can't be reached, and count the requests."""
    async with faulty_proxy(url) as proxy, connect(proxy.url, key, token) as client:
        proxy.refuse("realtime")
        watches = [client.watch(one) for one in ids]
        await asyncio.gather(*(anext(watch) for watch in watches))
        before = client.diagnostics().read_count
        await asyncio.sleep(POLLED_S)
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
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110 - what is waited for is a figure in a report.
            await asyncio.sleep(0.05)


def resident_kb() -> float:
    """Memory of this process."""
    gc.collect()
    return psutil.Process(os.getpid()).memory_info().rss / 1024


if __name__ == "__main__":
    main()

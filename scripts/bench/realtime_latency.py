"""Measure the latency of a message through the embedded Realtime: p50 and p99, to 1, 50 and 500 subscribers.

There are three paths: a broadcast from socket to socket; a row from its INSERT to the postgres_changes frame, commit
included; and the same with a policy that is evaluated for each of as many users. The reference is a bare fan-out server
on `websockets` with the same subscribers and payload in the same run. A message is sent once all subscribers have the
previous one; every delivery counts. Prints one line of JSON for each figure.

    python scripts/bench/realtime_latency.py [--subscribers 1 50 500]
"""

import argparse
import asyncio
import json
import multiprocessing
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import quantiles

import psycopg
import websockets
from bench_common import print_figure
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import broadcast, serve

from tests.integration.local.realtime.realtime_server import FIXTURES, USER_A, Reachable, start_postgres
from tests.integration.local.realtime.server_process import running_in_process

MESSAGES = {1: 400, 50: 120, 500: 30}
WARM_UP = 5
TIMEOUT_S = 120
# The clients of this benchmark send no heartbeats.
UNLIMITED = {"max_events_per_s": None, "max_joins_per_s": None, "idle_timeout_s": 3600.0}
REFERENCE = "bare websockets fan-out"
TEXT = "x" * 100
BROADCAST = json.dumps(
    {
        "topic": "realtime:bench",
        "event": "broadcast",
        "payload": {"type": "broadcast", "event": "e", "payload": {"text": TEXT}},
        "ref": None,
    }
)

Send = Callable[[], Awaitable[object]]


def main(numbers: Sequence[int]) -> None:
    """Measure in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="smelt-latency-") as folder:
        asyncio.run(run(Path(folder), numbers))


async def run(folder: Path, numbers: Sequence[int]) -> None:
    """Measure against a new server and a new database, each in its own process."""
    postgres = await start_postgres(folder)
    try:
        async with running_in_process(postgres, **UNLIMITED) as (server, _), fan_out() as bare_url:
            await server.sql(FIXTURES.read_text())
            for subscribers in numbers:
                messages = MESSAGES[subscribers]
                reference = await bare(bare_url, subscribers, messages)
                print_figures("broadcast", subscribers, await broadcasts(server, subscribers, messages), reference)
                insert = f"insert into notes (body) values ('{TEXT}')"
                changes = await changes_received(server, subscribers, messages, "notes", insert)
                print_figures("postgres_changes", subscribers, changes, reference)
                insert = f"insert into todos (user_id, title) values ('{USER_A}', '{TEXT}')"
                checked = await changes_received(server, subscribers, messages, "todos", insert)
                print_figures("postgres_changes with a policy", subscribers, checked, reference)
    finally:
        await postgres.stop()


def print_figures(figure: str, subscribers: int, seconds: list[float], reference: list[float]) -> None:
    """Print p50 and p99."""
    for percent in (50, 99):
        ms, bare_ms = (quantiles(each, n=100)[percent - 1] * 1000 for each in (seconds, reference))
        print_figure(
            f"{figure}, {subscribers} subscribers, p{percent}", ms, "ms", reference=REFERENCE, reference_value=bare_ms
        )


async def bare(url: str, subscribers: int, messages: int) -> list[float]:
    """Measure the reference."""
    async with AsyncExitStack() as exits:
        sockets = [await exits.enter_async_context(opened(url)) for _ in range(subscribers)]
        sender = await exits.enter_async_context(opened(url))
        return await deliveries(sockets, partial(sender.send, BROADCAST), messages)


async def broadcasts(server: Reachable, subscribers: int, messages: int) -> list[float]:
    """Measure broadcasts from socket to socket."""
    async with AsyncExitStack() as exits:
        sockets = [await exits.enter_async_context(joined(server, {})) for _ in range(subscribers)]
        sender = await exits.enter_async_context(joined(server, {}))
        return await deliveries(sockets, partial(sender.send, BROADCAST), messages)


async def changes_received(server: Reachable, subscribers: int, messages: int, table: str, insert: str) -> list[float]:
    """Measure from the INSERT of a row to its frame."""
    config = {"postgres_changes": [{"event": "INSERT", "schema": "public", "table": table}]}
    async with AsyncExitStack() as exits:
        # Every subscriber may read the row and has its own token.
        tokens = [server.token(USER_A, nonce=number) for number in range(subscribers)]
        sockets = [await exits.enter_async_context(joined(server, config, token)) for token in tokens]
        database = await exits.enter_async_context(
            await psycopg.AsyncConnection.connect(server.dsn, autocommit=True, options="-c search_path=public")
        )
        return await deliveries(sockets, partial(database.execute, insert.encode()), messages)


async def deliveries(sockets: list[ClientConnection], send: Send, messages: int) -> list[float]:
    """Return the seconds from before each message is sent until each subscriber has it."""
    seconds: list[float] = []
    for number in range(WARM_UP + messages):
        sent_at = time.perf_counter()
        arrivals = [asyncio.create_task(arrival(socket)) for socket in sockets]
        await send()
        async with asyncio.timeout(TIMEOUT_S):
            arrived = await asyncio.gather(*arrivals)
        if number >= WARM_UP:
            seconds += [at - sent_at for at in arrived]
    return seconds


async def arrival(socket: ClientConnection) -> float:
    """Return the time at which the next frame arrives."""
    await socket.recv()
    return time.perf_counter()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[ClientConnection]:
    """Open a socket without compression and pings."""
    async with connect(url, compression=None, ping_interval=None) as socket:
        yield socket


@asynccontextmanager
async def joined(server: Reachable, config: dict, token: str | None = None) -> AsyncIterator[ClientConnection]:
    """Open a socket and join the channel of the benchmark; with `postgres_changes` wait for the subscription."""
    async with opened(f"{server.socket_url}?apikey={server.keys.anon_key}") as socket:
        payload = {"config": config, **({"access_token": token} if token else {})}
        await socket.send(json.dumps({"topic": "realtime:bench", "event": "phx_join", "payload": payload, "ref": "1"}))
        expected = {"phx_reply", *(["system"] if config else [])}
        while expected:
            expected.discard(json.loads(await socket.recv())["event"])
        yield socket


@asynccontextmanager
async def fan_out() -> AsyncIterator[str]:
    """Run the reference in its own process; yield its URL."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve_bare, args=(there,), daemon=True)
    process.start()
    try:
        yield f"ws://127.0.0.1:{await asyncio.to_thread(here.recv)}"
    finally:
        process.terminate()
        process.join()


def serve_bare(ready: Connection) -> None:
    """Run the reference: relay every message to all other sockets."""
    asyncio.run(fan(ready))


async def fan(ready: Connection) -> None:
    """Serve until the process ends."""
    sockets: set[websockets.ServerConnection] = set()

    async def relay(socket: websockets.ServerConnection) -> None:
        sockets.add(socket)
        try:
            async for message in socket:
                broadcast(sockets - {socket}, message)
        finally:
            sockets.discard(socket)

    async with serve(relay, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        ready.send(next(iter(server.sockets)).getsockname()[1])
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subscribers", type=int, nargs="+", choices=MESSAGES, default=list(MESSAGES))
    main(parser.parse_args().subscribers)

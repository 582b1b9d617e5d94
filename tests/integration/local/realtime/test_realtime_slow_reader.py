"""A slow reader is dropped for any kind of message, and does not delay others."""

import json
from contextlib import suppress
from typing import Any

import psutil
import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from smelt.local.database.postgres import Postgres
from tests.harness.waiting import until
from tests.integration.local.realtime.realtime_server import RealtimeServer, serving
from tests.integration.local.realtime.sockets import RawSocket, raw_socket

FRAMES, FRAME_BYTES = 300, 100_000
"""More than the socket buffers of the system hold."""
BLOCK = "x" * FRAME_BYTES
QUEUE_FRAMES, ROWS = 50, 20
"""The number of rows that may be queued for a reader."""
CONFIG: dict[str, Any] = {
    "broadcast": {"self": True},
    "presence": {"key": "k", "enabled": True},
    "postgres_changes": [{"event": "INSERT", "schema": "public", "table": "notes"}],
}


@pytest.mark.parametrize("event", ["broadcast", "presence_diff", "postgres_changes"])
async def test_slow_reader_is_dropped_without_delaying_others(realtime_postgres: Postgres, event: str) -> None:
    """The connection is aborted: unread data is not kept until the client closes it."""
    async with serving(realtime_postgres, queue_frames=QUEUE_FRAMES, max_presence_calls=FRAMES) as realtime:
        url = f"{realtime.socket_url}?apikey={realtime.keys.anon_key}"
        join = {"topic": "realtime:flood", "event": "phx_join", "payload": {"config": CONFIG}, "ref": "1"}
        async with websockets.connect(url, max_queue=1, ping_interval=None) as slow, raw_socket(realtime) as quick:
            await slow.send(json.dumps(join))
            while json.loads(await slow.recv())["event"] != "system":
                pass
            await quick.join("flood", **CONFIG)
            await quick.next("system")
            assert _established(realtime.port) == len(realtime.realtime.sockets) == 3
            for number in range(FRAMES):
                await _cause(realtime, quick, event, number)
                assert BLOCK in json.dumps((await quick.next(event))["payload"])

            async def gone() -> bool:
                return _established(realtime.port) == len(realtime.realtime.sockets) == 2

            await until(gone)
            assert await _count(slow) < FRAMES
            assert (await quick.join("other"))["status"] == "ok"


async def _cause(server: RealtimeServer, socket: RawSocket, event: str, number: int) -> None:
    """Cause an event that is sent to all members."""
    match event:
        case "broadcast":
            await socket.broadcast("flood", "e", {"n": number, "x": BLOCK})
        case "presence_diff":
            track = {"type": "presence", "event": "track", "payload": {"n": number, "x": BLOCK}}
            await socket.send("realtime:flood", "presence", track)
        case _ if number % ROWS == 0:
            rows = f"select repeat('x', {FRAME_BYTES}) from generate_series(1, {ROWS})"
            await server.sql(f"insert into notes (body) {rows}")


def _established(port: int) -> int:
    """Return the number of open connections to a server in this process."""
    connections = psutil.Process().net_connections("tcp")
    return sum(
        connection.laddr.port == port and connection.status == psutil.CONN_ESTABLISHED for connection in connections
    )


async def _count(socket: ClientConnection) -> int:
    """Return the number of frames until the connection is lost."""
    count = 0
    with suppress(websockets.ConnectionClosedError):
        while True:
            await socket.recv()
            count += 1
    return count

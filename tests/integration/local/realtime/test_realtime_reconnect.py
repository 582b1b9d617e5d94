"""The official clients reconnect by themselves after the server was stopped or killed and restarted."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from realtime import AsyncRealtimeClient
from realtime.types import RealtimePostgresChangesListenEvent

from smelt.local.database.postgres import Postgres
from tests.harness.processes import END_TIMEOUT_S, kill_session
from tests.harness.waiting import until
from tests.integration.local.realtime.realtime_server import FIXTURES, Reachable
from tests.integration.local.realtime.server_process import running_in_process

JS = Path(__file__).parents[3] / "js"
WITHOUT_NODE = shutil.which("node") is None or not (JS / "node_modules").exists()
Received = list[tuple[str, int]]


@asynccontextmanager
async def realtime_py(server: Reachable) -> AsyncIterator[Received]:
    """Yield the messages that the Python client receives, once it has joined."""
    received: Received = []
    client = AsyncRealtimeClient(f"{server.http_url}/realtime/v1", server.keys.anon_key)
    await client.connect()
    channel = client.channel("room")
    channel.on_broadcast("e", lambda message: received.append(("broadcast", message["payload"]["n"])))
    channel.on_postgres_changes(
        RealtimePostgresChangesListenEvent.Insert,
        lambda change: received.append(("change", change["data"]["record"]["id"])),
        table="notes",
        schema="public",
    )
    await channel.subscribe()
    yield received
    await client.close()


@asynccontextmanager
async def supabase_js(server: Reachable) -> AsyncIterator[Received]:
    """Yield the messages that the JavaScript client receives."""
    received: Received = []
    process = await asyncio.create_subprocess_exec(
        "node",
        "reconnect.mjs",
        cwd=JS,
        env={**os.environ, "SUPABASE_URL": server.http_url, "SUPABASE_ANON_KEY": server.keys.anon_key},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            message: dict[str, Any] = json.loads(line)
            if "received" in message:
                received.append((message["received"], message["n"]))

    reading = asyncio.create_task(read())
    try:
        yield received
    finally:
        kill_session(process.pid)
        async with asyncio.timeout(END_TIMEOUT_S):
            await process.wait()
            await reading


# Raised inside the Python client.
@pytest.mark.filterwarnings("ignore:ConnectionClosed:DeprecationWarning")
@pytest.mark.parametrize(
    "client",
    [
        pytest.param(realtime_py, id="realtime-py"),
        pytest.param(
            supabase_js,
            id="supabase-js",
            marks=pytest.mark.skipif(WITHOUT_NODE, reason="run `npm install` in tests/js"),
        ),
    ],
)
async def test_reconnect_of_official_clients_after_a_server_restart(realtime_postgres: Postgres, client: Any) -> None:
    """Broadcasts and changes are received again without any action of the program."""
    async with running_in_process(realtime_postgres) as (server, process):
        await server.sql(FIXTURES.read_text())
        async with client(server) as received:
            await assert_receives(server, received, number=1)
            for number, end in enumerate((signal.SIGTERM, signal.SIGKILL), start=2):
                await process.end(end)
                await process.start()
                await assert_receives(server, received, number)


async def assert_receives(server: Reachable, received: Received, number: int) -> None:
    """Send a broadcast and a change repeatedly until both are received."""
    message = {"topic": "room", "event": "e", "payload": {"n": number}}

    async def both() -> bool:
        headers = {"apikey": server.keys.anon_key}
        async with httpx.AsyncClient(base_url=server.http_url, headers=headers) as rest:
            await rest.post("/realtime/v1/api/broadcast", json={"messages": [message]})
        await server.sql(f"delete from notes; insert into notes (id) values ({number})")
        return {("broadcast", number), ("change", number)} <= set(received)

    await until(both)

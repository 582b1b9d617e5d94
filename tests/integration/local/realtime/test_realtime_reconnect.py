"""The official clients come back by themselves when the server was stopped or killed, and started again."""

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
from processes import END_TIMEOUT_S, kill_session
from realtime import AsyncRealtimeClient
from realtime.types import RealtimePostgresChangesListenEvent
from realtime_server import FIXTURES, Reachable, eventually
from server_process import running_in_process

from smelt.local.postgres import Postgres

JS = Path(__file__).parents[3] / "js"
WITHOUT_NODE = shutil.which("node") is None or not (JS / "node_modules").exists()
Received = list[tuple[str, int]]


@asynccontextmanager
async def realtime_py(server: Reachable) -> AsyncIterator[Received]:
    """What the Python client hears, and when it is joined."""
    heard: Received = []
    client = AsyncRealtimeClient(f"{server.http_url}/realtime/v1", server.keys.anon_key)
    await client.connect()
    channel = client.channel("room")
    channel.on_broadcast("e", lambda message: heard.append(("broadcast", message["payload"]["n"])))
    channel.on_postgres_changes(
        RealtimePostgresChangesListenEvent.Insert,
        lambda change: heard.append(("change", change["data"]["record"]["id"])),
        table="notes",
        schema="public",
    )
    await channel.subscribe()
    yield heard
    await client.close()


@asynccontextmanager
async def supabase_js(server: Reachable) -> AsyncIterator[Received]:
    """What the JavaScript client hears."""
    heard: Received = []
    process = await asyncio.create_subprocess_exec(
        "node",
        "reconnect.mjs",
        cwd=JS,
        env={**os.environ, "SUPABASE_URL": server.http_url, "SUPABASE_ANON_KEY": server.keys.anon_key},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )

    async def listen() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            told: dict[str, Any] = json.loads(line)
            if "received" in told:
                heard.append((told["received"], told["n"]))

    listening = asyncio.create_task(listen())
    try:
        yield heard
    finally:
        kill_session(process.pid)
        async with asyncio.timeout(END_TIMEOUT_S):
            await process.wait()
            await listening


# The Python client's own.
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
    """Broadcasts and changes alike are heard again, without the program doing anything for it."""
    async with running_in_process(realtime_postgres) as (server, process):
        await server.sql(FIXTURES.read_text())
        async with client(server) as heard:
            await assert_receives(server, heard, number=1)
            for number, end in enumerate((signal.SIGTERM, signal.SIGKILL), start=2):
                await process.end(end)
                await process.start()
                await assert_receives(server, heard, number)


async def assert_receives(server: Reachable, heard: Received, number: int) -> None:
    """Say something, again and again, until it is heard both ways."""
    message = {"topic": "room", "event": "e", "payload": {"n": number}}

    async def both() -> bool:
        headers = {"apikey": server.keys.anon_key}
        async with httpx.AsyncClient(base_url=server.http_url, headers=headers) as rest:
            await rest.post("/realtime/v1/api/broadcast", json={"messages": [message]})
        await server.sql(f"delete from notes; insert into notes (id) values ({number})")
        return {("broadcast", number), ("change", number)} <= set(heard)

    await eventually(both)

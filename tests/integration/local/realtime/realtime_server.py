"""A Realtime server in this process, and what tests do to it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import uvicorn
import websockets
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection

from smelt.local.keys import Keys
from smelt.local.postgres import SUPERUSER, Postgres
from smelt.local.realtime import UVICORN_OPTIONS, Realtime, RealtimeOptions, create_routes

FIXTURES = Path(__file__).parents[1] / "recordings" / "realtime" / "fixtures.sql"
WITNESS = """
create schema if not exists witness;
create table if not exists witness.marks (id bigint generated always as identity primary key);
alter publication supabase_realtime add table witness.marks;
"""
USER_A = "aaaaaaaa-0000-4000-8000-000000000001"
USER_B = "bbbbbbbb-0000-4000-8000-000000000002"


@dataclass(frozen=True, kw_only=True)
class RealtimeServer:
    """Where the server is and how to reach what is behind it."""

    realtime: Realtime
    keys: Keys
    port: int
    dsn: str
    witness: ClientConnection

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/realtime/v1/websocket"

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def token(self, user: str | None = None, *, role: str = "authenticated", lives_s: float = 3600, **more: Any) -> str:
        """A signed token of a user."""
        subject = {} if user is None else {"sub": user}
        return self.keys.sign({"role": role, "exp": int(time.time() + lives_s), **subject, **more})

    async def sql(self, statement: str) -> None:
        """Run statements as the superuser; those with a `begin` of their own as they are."""
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            await connection.execute("set search_path = public")
            await connection.execute(statement.encode())

    async def settle(self) -> None:
        """Wait until all that was committed so far has been told: changes are told in order."""
        await self.sql("insert into witness.marks default values")
        async with asyncio.timeout(10):
            while json.loads(await self.witness.recv())["event"] != "postgres_changes":
                pass


def options_for(postgres: Postgres, **changes: Any) -> RealtimeOptions:
    """The platform's settings with short delays."""
    options = RealtimeOptions(
        keys=Keys(),
        admin_dsn=postgres.dsn(SUPERUSER),
        authenticator_dsn=postgres.dsn("authenticator"),
        connect_error_delay_s=0.05,
        join_error_delay_s=0.3,
        resubscribe_delay_s=(0.05, 0.1),
    )
    return replace(options, **changes)


@asynccontextmanager
async def serving(postgres: Postgres, **changes: Any) -> AsyncIterator[RealtimeServer]:
    """Serve until the context ends."""
    realtime = Realtime(options_for(postgres, **changes))
    app = Starlette(routes=create_routes(realtime))
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="off", ws="websockets-sansio", **UVICORN_OPTIONS)
    server = _Server(config)
    async with realtime.running():
        task = asyncio.create_task(server.serve())
        try:
            await asyncio.wait_for(server.ready.wait(), 10)
            port = server.servers[0].sockets[0].getsockname()[1]
            async with await psycopg.AsyncConnection.connect(postgres.dsn(SUPERUSER), autocommit=True) as connection:
                await connection.execute("set search_path = public")
                await connection.execute(FIXTURES.read_bytes())
                await connection.execute(WITNESS)
            async with _witness(port, realtime.options.keys) as witness:
                yield RealtimeServer(
                    realtime=realtime,
                    keys=realtime.options.keys,
                    port=port,
                    dsn=postgres.dsn(SUPERUSER),
                    witness=witness,
                )
        finally:
            server.should_exit = True
            await task


@asynccontextmanager
async def _witness(port: int, keys: Keys) -> AsyncIterator[ClientConnection]:
    url = f"ws://127.0.0.1:{port}/realtime/v1/websocket?apikey={keys.service_role_key}"
    async with websockets.connect(url) as socket:
        config = {"postgres_changes": [{"event": "INSERT", "schema": "witness", "table": "marks"}]}
        join = {"topic": "realtime:witness", "event": "phx_join", "payload": {"config": config}, "ref": "1"}
        await socket.send(json.dumps(join))
        while json.loads(await socket.recv())["event"] != "system":
            pass
        yield socket


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets=sockets)
        self.ready.set()

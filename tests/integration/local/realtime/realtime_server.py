"""A Realtime server in this process, and helpers to test it."""

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import websockets
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection

from smelt.local.account import database_account
from smelt.local.database.postgres import REALTIME_ROLE, SUPERUSER, Postgres, PostgresOptions
from smelt.local.database.template import build
from smelt.local.gateway.uvicorn_server import GatewayServer
from smelt.local.keys import Keys
from smelt.local.project import ProjectFiles
from smelt.local.realtime import Realtime, RealtimeOptions, create_routes
from tests.harness.waiting import until

FIXTURES = Path(__file__).parents[1] / "recordings" / "realtime" / "fixtures.sql"
WITNESS = """
create schema if not exists witness;
create table if not exists witness.marks (id bigint generated always as identity primary key);
alter publication supabase_realtime add table witness.marks;
"""
USER_A = "aaaaaaaa-0000-4000-8000-000000000001"
USER_B = "bbbbbbbb-0000-4000-8000-000000000002"


@dataclass(frozen=True, kw_only=True)
class Reachable:
    """The addresses of a Realtime server and its database."""

    keys: Keys
    port: int
    dsn: str

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/realtime/v1/websocket"

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def token(
        self, user: str | None = None, *, role: str = "authenticated", lifetime_s: float = 3600, **more: Any
    ) -> str:
        """Return a signed token of a user."""
        subject = {} if user is None else {"sub": user}
        return self.keys.sign({"role": role, "exp": int(time.time() + lifetime_s), **subject, **more})

    async def sql(self, statement: str) -> None:
        """Run statements as the superuser, in one transaction unless they contain `begin`."""
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as connection:
            await connection.execute("set search_path = public")
            await connection.execute(statement.encode())

    async def crash_postgres(self) -> None:
        """Kill a backend with SIGKILL, so that Postgres ends all others and recovers."""
        victim, bystander = [await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) for _ in range(2)]
        os.kill(victim.info.backend_pid, signal.SIGKILL)

        async def responds(call: Callable[[], Awaitable[object]]) -> bool:
            with suppress(psycopg.OperationalError):
                await call()
                return True
            return False

        async def down() -> bool:
            return not await responds(lambda: bystander.execute("select 1"))

        # The other backends run for a moment longer.
        await until(down)
        await until(lambda: responds(lambda: self.sql("select 1")))
        for connection in (victim, bystander):
            await connection.close()


@dataclass(frozen=True, kw_only=True)
class RealtimeServer(Reachable):
    """A Realtime server in this process."""

    realtime: Realtime
    witness: ClientConnection

    async def settle(self) -> None:
        """Wait until all changes that are committed by now have been published; they are published in order."""
        await self.sql("insert into witness.marks default values")
        async with asyncio.timeout(10):
            while json.loads(await self.witness.recv())["event"] != "postgres_changes":
                pass


def options_for(realtime_dsn: str, authenticator_dsn: str, **changes: Any) -> RealtimeOptions:
    """Return the platform's settings with short delays."""
    options = RealtimeOptions(
        keys=Keys(),
        realtime_dsn=realtime_dsn,
        authenticator_dsn=authenticator_dsn,
        connect_error_delay_s=0.05,
        join_error_delay_s=0.05,
        resubscribe_delay_s=(0.05, 0.1),
    )
    return replace(options, **changes)


async def start_postgres(folder: Path) -> Postgres:
    """Start a Postgres server with only the platform's schemas, in a temporary folder."""
    folder.chmod(0o755)  # noqa: ASYNC240
    options = PostgresOptions(
        data=folder / "data",
        sockets=folder / "sockets",
        port=5432,
        log=folder / "log",
        account=database_account(),
        tcp=False,
        durable=False,
    )
    await build(Postgres(options), ProjectFiles())
    postgres = Postgres(options)
    await postgres.start()
    return postgres


@asynccontextmanager
async def serving(postgres: Postgres, **changes: Any) -> AsyncIterator[RealtimeServer]:
    """Serve a database in the state before the recordings, until the context ends."""
    async with await psycopg.AsyncConnection.connect(postgres.dsn(SUPERUSER), autocommit=True) as connection:
        await connection.execute("set search_path = public")
        await connection.execute(FIXTURES.read_bytes())
        await connection.execute(WITNESS)
    realtime = Realtime(options_for(postgres.dsn(REALTIME_ROLE), postgres.dsn("authenticator"), **changes))
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = GatewayServer(Starlette(routes=create_routes(realtime)), listener)
    async with realtime.running():
        await server.start()
        try:
            async with _witness(port, realtime.options.keys) as witness:
                yield RealtimeServer(
                    realtime=realtime,
                    keys=realtime.options.keys,
                    port=port,
                    dsn=postgres.dsn(SUPERUSER),
                    witness=witness,
                )
        finally:
            await server.stop()


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

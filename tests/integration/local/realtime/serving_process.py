"""A Realtime server in a process of its own, which is stopped politely, started again and killed.

Run as a program it serves until SIGTERM, behind the same uvicorn as the gateway of the stack.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from realtime_server import Reachable, options_for
from starlette.applications import Starlette

from smelt.local.keys import Keys
from smelt.local.postgres import SUPERUSER, Postgres
from smelt.local.realtime import Realtime, create_routes
from smelt.local.serving import GatewayServer


@dataclass(kw_only=True)
class ServerProcess:
    """The process, and how to start it."""

    command: tuple[str, ...]
    running: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it serves."""
        self.running = await asyncio.create_subprocess_exec(
            *self.command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert self.running.stdout is not None
        assert await self.running.stdout.readline() == b"ready\n"

    async def end(self, number: signal.Signals) -> None:
        """Send a signal and wait until it is gone."""
        assert self.running is not None
        if self.running.returncode is None:
            self.running.send_signal(number)
        await self.running.communicate()


@asynccontextmanager
async def in_a_process(postgres: Postgres) -> AsyncIterator[tuple[Reachable, ServerProcess]]:
    """Serve a database from a process until the context ends."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    dsns = (postgres.dsn(SUPERUSER), postgres.dsn("authenticator"))
    process = ServerProcess(command=(sys.executable, __file__, str(port), *dsns))
    await process.start()
    try:
        yield Reachable(keys=Keys(), port=port, dsn=dsns[0]), process
    finally:
        await process.end(signal.SIGKILL)


async def serve(port: int, admin_dsn: str, authenticator_dsn: str) -> None:
    """Serve until SIGTERM, or until whoever started this is gone."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_reader(sys.stdin.fileno(), stopping.set)
    realtime = Realtime(options_for(admin_dsn, authenticator_dsn))
    server = GatewayServer(Starlette(routes=create_routes(realtime)), socket.create_server(("127.0.0.1", port)))
    async with realtime.running():
        await server.start()
        print("ready", flush=True)
        await stopping.wait()
        await server.stop()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), *sys.argv[2:]))

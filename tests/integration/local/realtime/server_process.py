"""A Realtime server in a separate process, for tests that stop, restart and kill it.

As a program, it serves until SIGTERM with the same uvicorn configuration as the gateway of the stack.
"""

import asyncio
import gc
import json
import logging
import signal
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psutil
from starlette.applications import Starlette

from smelt.local.database.postgres import REALTIME_ROLE, SUPERUSER, Postgres
from smelt.local.gateway.uvicorn_server import GatewayServer
from smelt.local.keys import Keys
from smelt.local.realtime import Realtime, create_routes
from smelt.local.realtime.channel import JoinedChannel
from smelt.local.realtime.connection import Connection
from smelt.local.realtime.mailbox import Mailbox
from tests.integration.local.realtime.realtime_server import Reachable, options_for

END_TIMEOUT_S = 60.0
PER_SOCKET_TYPES = (Connection, Mailbox, JoinedChannel)


@dataclass(kw_only=True)
class ServerProcess:
    """The server process."""

    command: tuple[str, ...]
    running: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the process and wait until it serves."""
        self.running = await asyncio.create_subprocess_exec(
            *self.command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert self.running.stdout is not None
        assert await self.running.stdout.readline() == b"ready\n"

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self.running is not None
        self.running.send_signal(number)

    async def inspect(self) -> dict[str, int]:
        """Return the resource counts of the process."""
        self.send(signal.SIGUSR1)
        assert self.running is not None
        assert self.running.stdout is not None
        return dict(json.loads(await self.running.stdout.readline()))

    async def end(self, number: signal.Signals) -> None:
        """Send a signal and wait until the process has exited."""
        assert self.running is not None
        if self.running.returncode is None:
            self.running.send_signal(number)
        await asyncio.wait_for(self.running.communicate(), END_TIMEOUT_S)


@asynccontextmanager
async def running_in_process(postgres: Postgres, **options: Any) -> AsyncIterator[tuple[Reachable, ServerProcess]]:
    """Serve a database from a separate process until the context ends."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    dsns = (postgres.dsn(REALTIME_ROLE), postgres.dsn("authenticator"))
    process = ServerProcess(command=(sys.executable, "-m", __spec__.name, str(port), *dsns, json.dumps(options)))
    await process.start()
    try:
        yield Reachable(keys=Keys(), port=port, dsn=postgres.dsn(SUPERUSER)), process
    finally:
        await process.end(signal.SIGKILL)


async def serve(port: int, realtime_dsn: str, authenticator_dsn: str, options: str) -> None:
    """Serve until SIGTERM or the exit of the parent; print the resource counts on SIGUSR1."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_reader(sys.stdin.fileno(), stopping.set)
    realtime = Realtime(options_for(realtime_dsn, authenticator_dsn, **json.loads(options)))
    server = GatewayServer(Starlette(routes=create_routes(realtime)), socket.create_server(("127.0.0.1", port)))
    loop.add_signal_handler(signal.SIGUSR1, lambda: print(json.dumps(resource_counts(realtime, port)), flush=True))
    async with realtime.running():
        await server.start()
        while not await realtime.wait_ready():
            pass
        print("ready", flush=True)
        await stopping.wait()
        await server.stop()


def resource_counts(realtime: Realtime, port: int) -> dict[str, int]:
    """Return the resources that a server holds for its clients, from objects to file descriptors."""
    gc.collect()
    instances = Counter(
        type(instance).__name__ for instance in gc.get_objects() if isinstance(instance, PER_SOCKET_TYPES)
    )
    connections = psutil.Process().net_connections("tcp")
    return {
        "tasks": len(asyncio.all_tasks()),
        "sockets": len(realtime.sockets),
        "listeners": realtime.hub.member_count,
        "present": realtime.hub.present_topics,
        "subscribers": realtime.changes.subscriber_count,
        "lent": realtime.borrowed_connections,
        "connections": sum(
            connection.laddr.port == port and connection.status == psutil.CONN_ESTABLISHED for connection in connections
        ),
        **{kept.__name__: instances[kept.__name__] for kept in PER_SOCKET_TYPES},
        "resident_kb": psutil.Process().memory_info().rss // 1024,
    }


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    asyncio.run(serve(int(sys.argv[1]), *sys.argv[2:]))

"""The servers of a run: the project behind proxies, the gateway, the external service, the webhooks and the workers."""

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, LiteralString

import psycopg
from psycopg.rows import tuple_row

from smelt.local import StackHandle
from tests.acceptance.gateway_process import GatewayProcess, gateway_process
from tests.chaos.disks import WORKER_DISK_FULL, Disks
from tests.chaos.network import ChaosProxy, chaos_proxy
from tests.chaos.plan import Plan
from tests.chaos.workers import Workers, running_workers
from tests.harness.gateways import SIGNING_KEY
from tests.harness.processes import restartable_port
from tests.harness.stacks import RemoteStack

QUERY_ATTEMPTS: Final = 50
QUERY_RETRY_S: Final = 0.1
GATEWAY_EXIT_TIMEOUT_S: Final = 60.0
# No fault may end a smelt: all of its failures are those of the run.
SETTINGS: Final = """
update smelt.limits set max_open = 10000, anonymous_max_open = 10000, retry_base_s = 0.2, retry_max_s = 2,
    max_failures = 10000, max_failures_on_one_host = 10000
"""


class Database:
    """Queries of the project's owner, repeated when their connection is terminated."""

    def __init__(self, stack: StackHandle) -> None:
        self._stack = stack

    async def rows(self, query: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        for _ in range(QUERY_ATTEMPTS):
            with suppress(psycopg.OperationalError):
                connecting = psycopg.AsyncConnection.connect(self._stack.db_url, autocommit=True, row_factory=tuple_row)
                async with await connecting as owner:
                    return await (await owner.execute(query, values)).fetchall()
            await asyncio.sleep(QUERY_RETRY_S)
        raise AssertionError("the database does not respond")

    async def count(self, query: LiteralString, *values: object) -> int:
        """Return the one number that a query returns."""
        [(count,)] = await self.rows(query, *values)
        return int(count or 0)


class Gateway:
    """`smelt serve`, and its successors at the same address; `pid` is that of the last one."""

    def __init__(self, env: Mapping[str, str], log: Path) -> None:
        self._env = env
        self._log = log
        self.pid = 0
        self._port = restartable_port()
        self._context: AbstractContextManager[GatewayProcess] | None = None
        self._starting: asyncio.Task[GatewayProcess] | None = None

    @property
    def url(self) -> str:
        """The address."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start the next process."""
        self._context = gateway_process(self._env, self._log, self._port)
        self._starting = asyncio.create_task(asyncio.to_thread(self._context.__enter__))
        started = await asyncio.shield(self._starting)
        self.pid = started.process.pid

    async def end(self, number: signal.Signals) -> None:
        """End the current process with a signal."""
        if self._context is not None and self._starting is not None:
            process = (await self._starting).process
            process.send_signal(number)
            await asyncio.to_thread(process.wait, GATEWAY_EXIT_TIMEOUT_S)
            await asyncio.to_thread(self._context.__exit__, None, None, None)
            self._context = None


@dataclass
class Site:
    """The servers and workers of a run, which the faults affect.

    Attributes:
        inner: The proxy of the workers and of the gateway to the project.
        outer: The proxy of clients and watchers to the project.
        front: The proxy of watchers to the gateway.
        disks: The small disks that faults fill.
    """

    plan: Plan
    stack: StackHandle
    inner: ChaosProxy
    outer: ChaosProxy
    front: ChaosProxy
    gateway: Gateway
    workers: Workers
    database: Database
    disks: Disks

    @property
    def public(self) -> RemoteStack:
        """The project as clients reach it."""
        return replace(_remote(self.stack), api_url=self.outer.url)


@asynccontextmanager
async def running_site(stack: StackHandle, folder: Path, plan: Plan, disks: Disks) -> AsyncIterator[Site]:
    """Run the servers and the workers with a model."""
    database = Database(stack)
    with psycopg.connect(stack.db_url, autocommit=True) as owner:
        owner.execute(SETTINGS)
    async with AsyncExitStack() as opened:
        inner, outer = [
            await opened.enter_async_context(chaos_proxy(stack.api_url, plan.chance(f"proxy {number}")))
            for number in range(2)
        ]
        behind = replace(_remote(stack), api_url=inner.url)
        limits = {"SMELT_GATEWAY_MAX_STREAMS_PER_CALLER": "1000", "SMELT_SIGNING_KEYS": SIGNING_KEY}
        gateway = Gateway({**behind.env(), **limits, "SMELT_DRAIN_S": "3"}, folder / "gateway.log")
        opened.push_async_callback(gateway.end, signal.SIGTERM)
        await gateway.start()
        front = await opened.enter_async_context(chaos_proxy(gateway.url, plan.chance("proxy 2")))
        home = folder / "workers"
        home.mkdir()
        disk = disks.mounted.get(WORKER_DISK_FULL)
        workers = await opened.enter_async_context(running_workers(behind, home, plan.lease_s, disk))
        yield Site(plan, stack, inner, outer, front, gateway, workers, database, disks)


def _remote(stack: StackHandle) -> RemoteStack:
    return RemoteStack(stack.api_url, stack.anon_key, stack.service_role_key, stack.db_url)

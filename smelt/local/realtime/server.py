"""The state that all sockets share: the hub, the database pools, the replication stream and background tasks."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import psycopg
from psycopg_pool import AsyncConnectionPool

from smelt.local.realtime import messages
from smelt.local.realtime.authorization import Authorization
from smelt.local.realtime.catalog import Catalog
from smelt.local.realtime.changes import Changes
from smelt.local.realtime.commits import Commits
from smelt.local.realtime.ending import end
from smelt.local.realtime.filters import Filters
from smelt.local.realtime.hub import Hub
from smelt.local.realtime.log_dispatcher import LogDispatcher
from smelt.local.realtime.options import RealtimeOptions
from smelt.local.realtime.rates import EventLimit, EventRate
from smelt.local.realtime.replication import Replication
from smelt.local.realtime.visibility import Visibility

logger = logging.getLogger(__name__)

PURGE_INTERVAL_S: Final = 3600.0
READY_TIMEOUT_S: Final = 2.0


class Disconnectable(Protocol):
    """A socket that the server may close."""

    def disconnect(self) -> None:
        """Send a disconnect event to the channels and close the socket."""


class Realtime:
    """The server without its sockets."""

    def __init__(self, options: RealtimeOptions) -> None:
        self.options = options
        self.hub = Hub(EventLimit(options.max_events_per_s, EventRate(options.event_tick_s)))
        self.joins = EventLimit(options.max_joins_per_s, EventRate(options.event_tick_s))
        self.sockets: set[Disconnectable] = set()
        # Functions that policies call may rely on these schemas. Values have the same format as in the WAL.
        settings = (
            "-c search_path=public,auth,extensions -c statement_timeout=10000 "
            "-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres -c extra_float_digits=1 -c bytea_output=hex"
        )
        self._service = _pool(options.realtime_dsn, settings)
        self._callers = _pool(options.authenticator_dsn, settings)
        self.authorization = Authorization(self._service)
        self.replays = messages.Replays(self._service)
        self.changes = Changes(
            Catalog(self._service), Filters(self._service), Visibility(self._callers), options.max_change_bytes
        )
        self._dispatcher = LogDispatcher(self.hub, self.changes, Commits(self._service))
        self._replication = Replication(
            options.realtime_dsn, self._dispatcher.receive, self._dispatcher.wait_for_room, self._reconnect_clients
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the background tasks during a context; the database may start later."""
        await self._service.open()
        await self._callers.open()
        jobs = (self._replication.run(), self._dispatcher.run(), self._watch_publication(), self._purge())
        tasks = [asyncio.create_task(job) for job in jobs]
        try:
            yield
        finally:
            for failure in await end(tasks):
                logger.error("a background task of Realtime failed", exc_info=failure)
            await self._service.close()
            await self._callers.close()

    @property
    def is_replicating(self) -> bool:
        """True if the replication stream is up."""
        return self._replication.ready.is_set()

    @property
    def borrowed_connections(self) -> int:
        """The number of database connections in use."""
        pools = (pool.get_stats() for pool in (self._service, self._callers))
        return sum(stats["pool_size"] - stats["pool_available"] for stats in pools)

    def disconnect_all(self) -> None:
        """Close all sockets after a disconnect event; clients reconnect."""
        for socket in list(self.sockets):
            socket.disconnect()

    def _reconnect_clients(self) -> None:
        logger.warning("changes may be lost; disconnecting %s sockets, so that they read again", len(self.sockets))
        self.disconnect_all()

    async def wait_ready(self) -> bool:
        """Wait for the stream, so that a joined channel misses no later commit; return False on a timeout."""
        if self._replication.ready.is_set():
            return True
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                return await self._replication.ready.wait()
        except TimeoutError:
            return False

    async def _watch_publication(self) -> None:
        while True:
            await asyncio.sleep(self.options.publication_check_interval_s)
            try:
                await self.changes.refresh()
            except psycopg.Error as error:
                logger.debug("reading the publication: %s", error)

    async def _purge(self) -> None:
        while True:
            try:
                await messages.purge(self._service, self.options.message_retention_h)
            except psycopg.Error as error:
                logger.debug("deleting old messages: %s", error)
            await asyncio.sleep(PURGE_INTERVAL_S)


def _pool(dsn: str, settings: str) -> AsyncConnectionPool[psycopg.AsyncConnection[tuple[Any, ...]]]:
    return AsyncConnectionPool(
        dsn,
        kwargs={"autocommit": True, "options": settings, "application_name": "realtime"},
        min_size=1,
        max_size=4,
        timeout=10.0,
        open=False,
        check=AsyncConnectionPool.check_connection,
        reset=_leave_as_it_is,
        reconnect_timeout=0,
    )


async def _leave_as_it_is(connection: psycopg.AsyncConnection[tuple[Any, ...]]) -> None:
    # With a reset function, the pool returns connections in a task of its own. Otherwise the task of a socket does it,
    # and a cancellation in the middle would lose the connection.
    pass

"""Follows the WAL by logical replication, and reconnects when the connection is lost.

The slot is temporary: it is dropped with the connection, so no slot is left that would retain the WAL. As on the
platform, changes that are committed while the stream is down are not published. After a restart of Postgres the sockets
stay, as on the platform. If only the stream ended, for instance because Postgres dropped a slot that retained too much
WAL, clients do not notice the missing changes: they are disconnected, so that they join and read again.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from secrets import token_hex
from typing import Final

import psycopg
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn

from smelt.local.realtime import pgoutput

logger = logging.getLogger(__name__)

PUBLICATIONS: Final = ("supabase_realtime", "supabase_realtime_messages_publication")
# A walsender that checks for WAL just before a commit may miss it and sleep until it is woken. A confirmation wakes it:
# soon after each message, when that is most likely, and periodically.
CONFIRM_BUSY_INTERVAL_S: Final = 0.01
CONFIRM_IDLE_INTERVAL_S: Final = 0.2
YIELD_EVERY_MESSAGES: Final = 64
# Also changes after a crash, unlike the start of the postmaster.
_SERVER_START: Final = "select backend_start from pg_catalog.pg_stat_activity where backend_type = 'checkpointer'"
BACKOFF_DELAYS_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0)

Receive = Callable[[pgoutput.Message], None]


class Replication:
    """Reads the WAL of a database and passes each message to `receive` in order.

    `ready` is set while the stream is up. After each message it awaits `wait_for_room`, for backpressure. It calls
    `on_gap` after a reconnection to the same run of the server.
    """

    def __init__(
        self,
        dsn: str,
        receive: Receive,
        wait_for_room: Callable[[], Awaitable[None]],
        on_gap: Callable[[], None],
    ) -> None:
        self.ready = asyncio.Event()
        self._dsn = dsn
        self._receive = receive
        self._wait_for_room = wait_for_room
        self._on_gap = on_gap
        self._server_started_at: object = None
        self._lsn = 0
        self._received_count = 0

    async def run(self) -> None:
        """Follow until cancelled."""
        failures = 0
        while True:
            try:
                async with self._connected() as pgconn:
                    failures = 0
                    self.ready.set()
                    await self._follow(pgconn)
            except (psycopg.Error, OSError) as error:
                logger.log(logging.WARNING if failures == 0 else logging.DEBUG, "replication: %s", error)
            except Exception:
                logger.exception("replication")
            finally:
                self.ready.clear()
            await asyncio.sleep(BACKOFF_DELAYS_S[min(failures, len(BACKOFF_DELAYS_S) - 1)])
            failures += 1

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[PGconn]:
        options = (
            "-c TimeZone=UTC -c DateStyle=ISO -c IntervalStyle=postgres -c extra_float_digits=1 -c bytea_output=hex"
        )
        connection = await psycopg.AsyncConnection.connect(
            self._dsn, autocommit=True, replication="database", options=options, application_name="realtime"
        )
        try:
            slot = f"supabase_realtime_{token_hex(8)}"
            await connection.execute(f"CREATE_REPLICATION_SLOT {slot} TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT")
            names = ",".join(PUBLICATIONS)
            start = f"START_REPLICATION SLOT {slot} LOGICAL 0/0 (proto_version '1', publication_names '{names}')"
            row = await (await connection.execute(_SERVER_START)).fetchone()
            connection.pgconn.send_query(start.encode())
            await _expect_copy(connection.pgconn)
            if row == self._server_started_at:
                self._on_gap()
            self._server_started_at = row
            yield connection.pgconn
        finally:
            await connection.close()

    async def _follow(self, pgconn: PGconn) -> None:
        confirming = asyncio.create_task(self._confirm_periodically(pgconn))
        try:
            async for data in _copy_data(pgconn):
                await self._handle(pgconn, data)
                self._received_count += 1
                if self._received_count % YIELD_EVERY_MESSAGES == 0:
                    await asyncio.sleep(0)  # Let the sockets run during a long transaction.
        finally:
            confirming.cancel()
            await asyncio.wait((confirming,))

    async def _handle(self, pgconn: PGconn, data: bytes) -> None:
        match pgoutput.parse_stream(data):
            case pgoutput.WalData(data=message):
                parsed = pgoutput.parse_message(message)
                if isinstance(parsed, pgoutput.Commit):
                    self._lsn = max(self._lsn, parsed.end_lsn)
                self._receive(parsed)
                await self._wait_for_room()
            case pgoutput.Keepalive(wal_end, reply_requested):
                self._lsn = max(self._lsn, wal_end)
                if reply_requested:
                    self._confirm(pgconn)
            case pgoutput.Ignored(kind):
                logger.debug("replication: unknown message %r", kind)

    async def _confirm_periodically(self, pgconn: PGconn) -> None:
        confirmed = 0
        while True:
            await asyncio.sleep(
                CONFIRM_IDLE_INTERVAL_S if self._received_count == confirmed else CONFIRM_BUSY_INTERVAL_S
            )
            confirmed = self._received_count
            self._confirm(pgconn)

    def _confirm(self, pgconn: PGconn) -> None:
        pgconn.put_copy_data(pgoutput.feedback(self._lsn, time.time_ns() // 1000))
        pgconn.flush()


async def _expect_copy(pgconn: PGconn) -> None:
    while pgconn.is_busy():
        await _readable(pgconn)
        pgconn.consume_input()
    result = pgconn.get_result()
    if result is None or result.status != ExecStatus.COPY_BOTH:
        message = result.error_message if result is not None else b"no response"
        raise psycopg.OperationalError(message.decode(errors="replace"))


async def _copy_data(pgconn: PGconn) -> AsyncIterator[bytes]:
    while True:
        size, data = pgconn.get_copy_data(1)
        if size > 0:
            yield bytes(data)
        elif size == 0:
            await _readable(pgconn)
            pgconn.consume_input()
        else:
            raise psycopg.OperationalError("the server ended the stream")


async def _readable(pgconn: PGconn) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pgconn.socket, ready.set)
    try:
        await ready.wait()
    finally:
        with suppress(psycopg.OperationalError):  # A lost connection has no socket.
            loop.remove_reader(pgconn.socket)

"""Waits until a transaction from the WAL is visible to other sessions.

A commit is in the WAL a moment before other sessions see its rows. A client that is notified earlier would not find
the row, and neither would the check of its visibility.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Final

import psycopg

from smelt.local.realtime.authorization import Connection, Pool

logger = logging.getLogger(__name__)

TIMEOUT_S: Final = 5.0
POLL_INTERVAL_S: Final = 0.001

# Transaction ids in the WAL have 32 bits, so they are compared modulo 2^32. A transaction that is not below `xmax` of
# the snapshot, or in `xip`, was still running when the snapshot was taken.
_VISIBLE: Final = """
select (pg_snapshot_xmax(s)::text::int8 - %(xid)s) & 4294967295 between 1 and 2147483647
   and not exists (select from pg_snapshot_xip(s) x where x::text::int8 & 4294967295 = %(xid)s)
from pg_current_snapshot() s
"""


class Commits:
    """Checks which transactions are visible, and caches the last one."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._visible_xid: int | None = None

    async def visible(self, xid: int) -> None:
        """Wait until a committed transaction is visible, or log a warning after a timeout or an error."""
        if xid == self._visible_xid:
            return
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._wait(xid)
        except (psycopg.Error, TimeoutError) as error:
            logger.warning("transaction %s is published before it is visible: %r", xid, error)
        self._visible_xid = xid

    async def _wait(self, xid: int) -> None:
        while True:
            with suppress(psycopg.OperationalError):  # A connection is lost: the next one may not be.
                async with self._pool.connection() as connection:
                    return await _until_visible(connection, xid)
            await asyncio.sleep(POLL_INTERVAL_S)


async def _until_visible(connection: Connection, xid: int) -> None:
    while True:
        row = await (await connection.execute(_VISIBLE, {"xid": xid})).fetchone()
        if row is not None and row[0]:
            return
        await asyncio.sleep(POLL_INTERVAL_S)

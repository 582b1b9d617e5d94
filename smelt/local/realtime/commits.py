"""When a transaction that the log tells of is visible to everybody.

The log has a commit a moment before other sessions see its rows. Who is told earlier than that, and looks, finds
nothing; and so would the check of what a caller may see.
"""

import asyncio
import logging
from typing import Final

import psycopg

from smelt.local.realtime.authorization import Pool

logger = logging.getLogger(__name__)

TIMEOUT_S: Final = 5.0
PAUSE_S: Final = 0.001

# Transaction ids of the log have 32 bits: they are compared as a circle. One that is not below `xmax` of the snapshot
# was still running when it was taken, as were those in `xip`.
_VISIBLE: Final = """
select (pg_snapshot_xmax(s)::text::int8 - %(xid)s) & 4294967295 between 1 and 2147483647
   and not exists (select from pg_snapshot_xip(s) x where x::text::int8 & 4294967295 = %(xid)s)
from pg_current_snapshot() s
"""


class Commits:
    """Asks which transactions are visible; the last one is remembered."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._visible_xid: int | None = None

    async def visible(self, xid: int) -> None:
        """Wait until a committed transaction is visible, or cannot be asked for."""
        if xid == self._visible_xid:
            return
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._wait(xid)
        except (psycopg.Error, TimeoutError) as error:
            logger.warning("transaction %s is told of without being seen: %s", xid, error)
        self._visible_xid = xid

    async def _wait(self, xid: int) -> None:
        async with self._pool.connection() as connection:
            while True:
                row = await (await connection.execute(_VISIBLE, {"xid": xid})).fetchone()
                if row is not None and row[0]:
                    return
                await asyncio.sleep(PAUSE_S)

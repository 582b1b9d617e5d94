"""Evaluates the policies of `realtime.messages`: whether a caller may read from or write to a private channel.

Each check is a transaction that is rolled back. A caller may read if it sees a probe row, and may write if it can
insert one.
"""

import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import psycopg
from psycopg_pool import AsyncConnectionPool

from smelt.local.realtime.tokens import Token
from smelt.pickling import PicklableError

logger = logging.getLogger(__name__)

Extension = Literal["broadcast", "presence"]
Connection = psycopg.AsyncConnection[tuple[Any, ...]]
Pool = AsyncConnectionPool[Connection]

_PROBE: Final = "insert into realtime.messages (topic, extension, private) select %s, unnest(%s::text[]), false"
_PROBE_ROWS: Final = f"{_PROBE} returning id"
_VISIBLE_PROBES: Final = "select extension from realtime.messages where id = any(%s)"
_SET_CALLER: Final = """
select set_config('role', %(role)s, true),
       set_config('realtime.topic', %(topic)s, true),
       set_config('request.jwt.claims', %(claims)s, true),
       set_config('request.jwt.claim.sub', %(sub)s, true),
       set_config('request.jwt.claim.role', %(role)s, true),
       set_config('request.headers', %(headers)s, true)
"""


class DatabaseUnavailable(PicklableError):
    """Postgres is unavailable."""


@dataclass(frozen=True, slots=True)
class RealtimeCaller:
    """A caller: its token, and the headers of its connection or request."""

    token: Token
    headers: Mapping[str, str]


class Authorization:
    """Evaluates policies on behalf of callers; the pool connects as a role that bypasses row level security."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def readable(self, caller: RealtimeCaller, topic: str) -> frozenset[str]:
        """Return the extensions of a private channel that the caller may read; none if a policy fails."""
        try:
            async with self._rolled_back() as connection:
                cursor = await connection.execute(_PROBE_ROWS, (topic, ["broadcast", "presence"]))
                probes = [row[0] for row in await cursor.fetchall()]
                await _set_caller(connection, caller, topic)
                cursor = await connection.execute(_VISIBLE_PROBES, (probes,))
                return frozenset(row[0] for row in await cursor.fetchall())
        except psycopg.Error as error:
            _log_denial(error, caller, topic)
            return frozenset()

    async def writable(self, caller: RealtimeCaller, topic: str, extension: Extension) -> bool:
        """Return True if the caller may send to a private channel; False if a policy fails."""
        try:
            async with self._rolled_back() as connection:
                await _set_caller(connection, caller, topic)
                await connection.execute(_PROBE, (topic, [extension]))
        except psycopg.Error as error:
            _log_denial(error, caller, topic)
            return False
        return True

    @asynccontextmanager
    async def _rolled_back(self) -> AsyncIterator[Connection]:
        try:
            async with self._pool.connection() as connection, connection.transaction(force_rollback=True):
                yield connection
        except psycopg.OperationalError as error:
            if error.sqlstate is None:  # The error is not from the server: the connection failed.
                raise DatabaseUnavailable from error
            raise


async def _set_caller(connection: Connection, caller: RealtimeCaller, topic: str) -> None:
    token = caller.token
    settings = {
        "role": token.role,
        "topic": topic,
        "claims": token.claims_json,
        "sub": token.subject,
        "headers": json.dumps(dict(caller.headers)),
    }
    await connection.execute(_SET_CALLER, settings)


def _log_denial(error: psycopg.Error, caller: RealtimeCaller, topic: str) -> None:
    level = logging.DEBUG if isinstance(error, psycopg.errors.InsufficientPrivilege) else logging.INFO
    logger.log(level, "channel %s: %s is not allowed: %s", topic, caller.token.role, error)

"""May this caller read from and write to a private channel: the policies of `realtime.messages`, asked with probes.

Each question is a transaction that is rolled back. Reading is a probe row that the caller sees; writing is a probe row
that the caller may insert.
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
_SEE: Final = "select extension from realtime.messages where id = any(%s)"
_BECOME: Final = """
select set_config('role', %(role)s, true),
       set_config('realtime.topic', %(topic)s, true),
       set_config('request.jwt.claims', %(claims)s, true),
       set_config('request.jwt.claim.sub', %(sub)s, true),
       set_config('request.jwt.claim.role', %(role)s, true),
       set_config('request.headers', %(headers)s, true)
"""


class DatabaseUnavailable(PicklableError):
    """Postgres cannot be asked just now."""


@dataclass(frozen=True, slots=True)
class RealtimeCaller:
    """Who asks: a token, and the headers that came with the connection or the request."""

    token: Token
    headers: Mapping[str, str]


class Authorization:
    """Asks the policies on behalf of callers; the pool's connections are a superuser's."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def readable(self, caller: RealtimeCaller, topic: str) -> frozenset[str]:
        """Answer the extensions of a private channel that the caller may read; a failing policy allows nothing."""
        try:
            async with self._rolled_back() as connection:
                cursor = await connection.execute(_PROBE_ROWS, (topic, ["broadcast", "presence"]))
                probes = [row[0] for row in await cursor.fetchall()]
                await _become(connection, caller, topic)
                cursor = await connection.execute(_SEE, (probes,))
                return frozenset(row[0] for row in await cursor.fetchall())
        except psycopg.Error as error:
            _tell_denial(error, caller, topic)
            return frozenset()

    async def writable(self, caller: RealtimeCaller, topic: str, extension: Extension) -> bool:
        """Say whether the caller may send to a private channel; a failing policy forbids it."""
        try:
            async with self._rolled_back() as connection:
                await _become(connection, caller, topic)
                await connection.execute(_PROBE, (topic, [extension]))
        except psycopg.Error as error:
            _tell_denial(error, caller, topic)
            return False
        return True

    @asynccontextmanager
    async def _rolled_back(self) -> AsyncIterator[Connection]:
        try:
            async with self._pool.connection() as connection, connection.transaction(force_rollback=True):
                yield connection
        except psycopg.OperationalError as error:
            if error.sqlstate is None:  # No answer of the server: the connection itself failed.
                raise DatabaseUnavailable from error
            raise


async def _become(connection: Connection, caller: RealtimeCaller, topic: str) -> None:
    token = caller.token
    settings = {
        "role": token.role,
        "topic": topic,
        "claims": token.claims_json,
        "sub": token.subject,
        "headers": json.dumps(dict(caller.headers)),
    }
    await connection.execute(_BECOME, settings)


def _tell_denial(error: psycopg.Error, caller: RealtimeCaller, topic: str) -> None:
    level = logging.DEBUG if isinstance(error, psycopg.errors.InsufficientPrivilege) else logging.INFO
    logger.log(level, "channel %s: %s is not allowed: %s", topic, caller.token.role, error)

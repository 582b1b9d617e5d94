"""Which callers see a row now: row level security, asked as each of them."""

import logging
from collections.abc import Collection, Mapping
from typing import Final

import psycopg
from psycopg import sql

from smelt.local.realtime.authorization import Connection, Pool
from smelt.local.realtime.pgoutput import Relation
from smelt.local.realtime.tokens import Token

logger = logging.getLogger(__name__)

_BECOME: Final = "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)"


class Visibility:
    """Asks with connections of a role that may become the callers' roles, and is nobody itself."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def seen_by(self, relation: Relation, key: Mapping[str, str], tokens: Collection[Token]) -> set[Token]:
        """Answer the tokens whose callers see the row with this key; a policy that fails shows nothing."""
        query = _select(relation, list(key))
        seen = set()
        async with self._pool.connection() as connection:
            for token in tokens:
                try:
                    if await _sees(connection, token, query, list(key.values())):
                        seen.add(token)
                except psycopg.errors.DatabaseError as error:
                    if connection.closed:
                        raise
                    logger.info("%s.%s as %s: %s", relation.schema, relation.name, token.role, error)
        return seen


async def _sees(connection: Connection, token: Token, query: sql.Composed, values: list[str]) -> bool:
    # Sent at once, from `begin` to `rollback`: asking costs one round trip.
    async with connection.pipeline(), connection.transaction(force_rollback=True):
        await connection.execute(_BECOME, (token.role, token.claims_json))
        cursor = await connection.execute(query, values)
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


def _select(relation: Relation, columns: list[str]) -> sql.Composed:
    table = sql.Identifier(relation.schema, relation.name)
    # Compared as unknown literals, which Postgres reads as the column's own type; so an index is used.
    matches = [sql.SQL("{} = {}").format(sql.Identifier(column), sql.Placeholder()) for column in columns]
    return sql.SQL("select exists (select from {} where {})").format(table, sql.SQL(" and ").join(matches))

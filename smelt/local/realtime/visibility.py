"""Checks which callers can see a row, by evaluating row level security as each of them."""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import psycopg
from psycopg import sql

from smelt.local.realtime.authorization import Connection, Pool
from smelt.local.realtime.pgoutput import Relation
from smelt.local.realtime.tokens import Token

logger = logging.getLogger(__name__)

BATCH_SIZE: Final = 100
_SET_CALLER: Final = "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)"


class Visibility:
    """Checks visibility; the pool connects as a role that has no rights itself but can switch to the callers' roles."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def seen_by(self, relation: Relation, key: Mapping[str, str], tokens: Collection[Token]) -> set[Token]:
        """Return the tokens whose callers see the row with this key; a failing policy hides it."""
        query, values = _select(relation, list(key)), list(key.values())
        asked = list(tokens)
        batches = [asked[start : start + BATCH_SIZE] for start in range(0, len(asked), BATCH_SIZE)]
        async with self._pool.connection() as connection:
            return {token for batch in batches for token in await _seen(connection, query, values, batch)}


async def _seen(connection: Connection, query: sql.Composed, values: list[str], tokens: Sequence[Token]) -> list[Token]:
    try:
        return await _query(connection, query, values, tokens)
    except psycopg.errors.DatabaseError as error:
        if connection.closed:
            raise
        if len(tokens) == 1:
            logger.info("a policy fails for %s: %s", tokens[0].role, error)
            return []
        # One failing policy fails the batch: bisect it.
        half = len(tokens) // 2
        return [
            *await _seen(connection, query, values, tokens[:half]),
            *await _seen(connection, query, values, tokens[half:]),
        ]


async def _query(
    connection: Connection, query: sql.Composed, values: list[str], tokens: Sequence[Token]
) -> list[Token]:
    # The pipeline sends everything from `begin` to `rollback` at once: a batch costs one round trip.
    async with connection.pipeline(), connection.transaction(force_rollback=True):
        cursors = []
        for token in tokens:
            await connection.execute(_SET_CALLER, (token.role, token.claims_json))
            cursors.append(await connection.execute(query, values))
    rows = [await cursor.fetchone() for cursor in cursors]
    return [token for token, row in zip(tokens, rows, strict=True) if row is not None and row[0]]


def _select(relation: Relation, columns: list[str]) -> sql.Composed:
    table = sql.Identifier(relation.schema, relation.name)
    # Untyped literals take the column's type, so that an index is used.
    matches = [sql.SQL("{} = {}").format(sql.Identifier(column), sql.Placeholder()) for column in columns]
    return sql.SQL("select exists (select from {} where {})").format(table, sql.SQL(" and ").join(matches))

"""Which callers see a row now: row level security, asked as each of them."""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import psycopg
from psycopg import sql

from smelt.local.realtime.authorization import Connection, Pool
from smelt.local.realtime.pgoutput import Relation
from smelt.local.realtime.tokens import Token

logger = logging.getLogger(__name__)

BATCH: Final = 100
_BECOME: Final = "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)"


class Visibility:
    """Asks with connections of a role that may become the callers' roles, and is nobody itself."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def seen_by(self, relation: Relation, key: Mapping[str, str], tokens: Collection[Token]) -> set[Token]:
        """Answer the tokens whose callers see the row with this key; a policy that fails shows nothing."""
        query, values = _select(relation, list(key)), list(key.values())
        asked = list(tokens)
        batches = [asked[start : start + BATCH] for start in range(0, len(asked), BATCH)]
        async with self._pool.connection() as connection:
            return {token for batch in batches for token in await _seen(connection, query, values, batch)}


async def _seen(connection: Connection, query: sql.Composed, values: list[str], tokens: Sequence[Token]) -> list[Token]:
    try:
        return await _ask(connection, query, values, tokens)
    except psycopg.errors.DatabaseError as error:
        if connection.closed:
            raise
        if len(tokens) == 1:
            logger.info("a policy fails for %s: %s", tokens[0].role, error)
            return []
        # One of them spoils the answers to all.
        half = len(tokens) // 2
        return [
            *await _seen(connection, query, values, tokens[:half]),
            *await _seen(connection, query, values, tokens[half:]),
        ]


async def _ask(connection: Connection, query: sql.Composed, values: list[str], tokens: Sequence[Token]) -> list[Token]:
    # Sent at once, from `begin` to `rollback`: asking for many costs one round trip.
    async with connection.pipeline(), connection.transaction(force_rollback=True):
        answers = []
        for token in tokens:
            await connection.execute(_BECOME, (token.role, token.claims_json))
            answers.append(await connection.execute(query, values))
    rows = [await answer.fetchone() for answer in answers]
    return [token for token, row in zip(tokens, rows, strict=True) if row is not None and row[0]]


def _select(relation: Relation, columns: list[str]) -> sql.Composed:
    table = sql.Identifier(relation.schema, relation.name)
    # Compared as unknown literals, which Postgres reads as the column's own type; so an index is used.
    matches = [sql.SQL("{} = {}").format(sql.Identifier(column), sql.Placeholder()) for column in columns]
    return sql.SQL("select exists (select from {} where {})").format(table, sql.SQL(" and ").join(matches))

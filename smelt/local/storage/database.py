"""Transactions of the Storage server, with the caller's role and claims or with the service role."""

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, LiteralString, TypeVar

import psycopg
from psycopg.rows import class_row, dict_row
from psycopg_pool import AsyncConnectionPool
from starlette.requests import Request

from smelt.local.storage import errors
from smelt.local.storage.tokens import SERVICE, StorageCaller

Row = TypeVar("Row")

_SETTINGS: Final = """
    select set_config('role', %(role)s, true),
           set_config('request.jwt.claim.role', %(role)s, true),
           set_config('request.jwt.claim.sub', %(subject)s, true),
           set_config('request.jwt.claims', %(claims)s, true),
           set_config('request.headers', %(headers)s, true),
           set_config('request.method', %(method)s, true),
           set_config('request.path', %(path)s, true),
           set_config('storage.operation', %(operation)s, true),
           set_config('storage.allow_delete_query', 'true', true)
"""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """The properties of a request that policies can read."""

    name: str
    method: str
    path: str
    headers: str

    @classmethod
    def of(cls, request: Request, name: str) -> "Operation":
        """Return the operation of a request."""
        # Keep the escapes of the path: decoded, it may contain bytes that Postgres rejects.
        path = request.scope["raw_path"].decode("latin-1").removeprefix(request.scope["root_path"])
        return cls(name=name, method=request.method, path=path, headers=json.dumps(dict(request.headers.items())))


class Transaction:
    """A transaction of a caller."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def execute(self, query: LiteralString, **values: object) -> int:
        """Run a statement and return the number of affected rows."""
        cursor = await self._connection.execute(query, values)
        return cursor.rowcount

    async def one(self, kind: type[Row], query: LiteralString, **values: object) -> Row | None:
        """Return the first row of a query, or None."""
        async with self._connection.cursor(row_factory=class_row(kind)) as cursor:
            await cursor.execute(query, values)
            return await cursor.fetchone()

    async def many(self, kind: type[Row], query: LiteralString, **values: object) -> list[Row]:
        """Return all rows of a query."""
        async with self._connection.cursor(row_factory=class_row(kind)) as cursor:
            await cursor.execute(query, values)
            return await cursor.fetchall()

    async def records(self, query: LiteralString, **values: object) -> list[dict[str, Any]]:
        """Return all rows of a query as dictionaries."""
        async with self._connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(query, values)
            return await cursor.fetchall()

    async def roll_back(self) -> None:
        """Roll the transaction back; it must not be used afterwards."""
        await self._connection.rollback()


class Database:
    """Access to the tables of the schema `storage`."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def acting_as(
        self, caller: StorageCaller, operation: Operation, *, duplicate: str = "ResourceAlreadyExists"
    ) -> AsyncIterator[Transaction]:
        """Open a transaction in which the policies apply to the caller; it commits unless the block raises.

        Errors of Postgres are raised as `StorageError`; `duplicate` is the error code for a unique violation.
        """
        try:
            async with self._pool.connection() as connection:
                await connection.execute(
                    _SETTINGS,
                    {
                        "role": caller.role,
                        "subject": caller.subject or "",
                        "claims": caller.claims,
                        "headers": operation.headers,
                        "method": operation.method,
                        "path": operation.path,
                        "operation": operation.name,
                    },
                )
                yield Transaction(connection)
        except psycopg.Error as exc:
            error = _storage_error_for(exc, duplicate)
            # Without a SQLSTATE the connection was lost, in the classes 08 and 57 it may have been lost in a commit.
            error.is_rolled_back = exc.sqlstate is not None and not exc.sqlstate.startswith(("08", "57"))
            raise error from exc

    def as_service(self, operation: Operation) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction of the service role, which bypasses policies."""
        return self.acting_as(SERVICE, operation)

    async def versions(self) -> set[str]:
        """Return the versions of all objects."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute("select version from storage.objects where version is not null")
            return {str(version) for (version,) in await cursor.fetchall()}


def _storage_error_for(exc: psycopg.Error, duplicate: str) -> errors.StorageError:
    match exc:
        case psycopg.errors.InsufficientPrivilege():
            return errors.access_denied()
        case psycopg.errors.UniqueViolation():
            return errors.already_exists(duplicate)
        case psycopg.errors.ForeignKeyViolation():
            return errors.related_resource_missing()
        case _:
            return errors.database_error(exc.sqlstate)

"""Calls of SQL functions and access to rows through PostgREST, with smelt's errors."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar, cast
from uuid import UUID

import httpx
from postgrest import APIError, APIResponse, AsyncPostgrestClient
from postgrest.types import CountMethod, ReturnMethod
from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from smelt.backend.error_mapping import map_api_error, map_transport_error
from smelt.backend.json_text import replace_unstorable
from smelt.backend.retries import transient_retries
from smelt.errors import RequestRejected

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

ROWS_PER_PAGE: Final = 500


class RpcResponse(RootModel[T]):
    """A response that is not a JSON object; like in `Model`, validation errors do not contain the value."""

    model_config = ConfigDict(hide_input_in_errors=True)


@dataclass(frozen=True)
class Cursor:
    """The position of a row in a list of the newest rows."""

    created_at: datetime
    id: UUID


class Rpc:
    """PostgREST of one project; methods raise `Unavailable`, `Unauthorized`, `RequestRejected` or `NotFound`."""

    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self._postgrest = AsyncPostgrestClient(f"{url}/rest/v1", http_client=http, retry_enabled=False)

    async def call(self, function: str, /, **arguments: object) -> object:
        """Call an idempotent function; retried on transient errors."""
        async for attempt in transient_retries():
            with attempt:
                return await self.call_once(function, **arguments)
        raise AssertionError("tenacity raises the last error itself")

    async def call_once(self, function: str, /, **arguments: object) -> object:
        """Call a function without a retry."""
        # The client library types parameters as strings, but sends any JSON.
        request = self._postgrest.rpc(function, cast("dict[str, str]", _defined_arguments(arguments)))
        return await _execute(f"calling {function}", request.execute())

    async def row(self, table: str, row_id: UUID) -> object:
        """Return one row of a table, or None if the caller may read none with this id; not retried."""
        request = self._postgrest.from_(table).select("*").eq("id", str(row_id)).limit(1)
        rows = await _execute(f"reading {table}", request.execute())
        return rows[0] if isinstance(rows, list) and rows else None

    async def newest(
        self, table: str, columns: str, count: int, *filters: tuple[str, str, str], before: Cursor | None = None
    ) -> object:
        """Return the newest `count` rows that match the filters and that the caller may read, newest first.

        `before` is the position of the last row of the page before.
        """
        async for attempt in transient_retries():
            with attempt:
                request = self._postgrest.from_(table).select(columns)
                request = request.order("created_at", desc=True).order("id", desc=True).limit(count)
                for column, operator, value in filters:
                    request = request.filter(column, operator, value)
                if before is not None:
                    moment = f'"{before.created_at.isoformat()}"'
                    request = request.or_(f"created_at.lt.{moment},and(created_at.eq.{moment},id.lt.{before.id})")
                return await _execute(f"reading {table}", request.execute())
        raise AssertionError("tenacity raises the last error itself")

    async def count(self, table: str, *filters: tuple[str, str, str]) -> int:
        """Return the number of rows that match the filters and that the caller may read."""
        async for attempt in transient_retries():
            with attempt:
                request = self._postgrest.from_(table).select("id", count=CountMethod.exact, head=True)
                for column, operator, value in filters:
                    request = request.filter(column, operator, value)
                response = await _respond(f"counting {table}", request.execute())
                return response.count or 0
        raise AssertionError("tenacity raises the last error itself")

    async def rows(self, table: str, *filters: tuple[str, str, str]) -> list[object]:
        """Return all rows that match the filters and that the caller may read, ordered by id; not retried.

        Args:
            table: A table in `public`.
            filters: Each a column, an operator of PostgREST, and a value.
        """
        found: list[object] = []
        last: str | None = None
        while page := await self._page(table, filters, last):
            found += page
            last = str(page[-1]["id"])
        return found

    async def update(self, table: str, values: Mapping[str, object], *filters: tuple[str, str, str]) -> int:
        """Update the rows that match the filters, idempotently; return how many were updated."""
        async for attempt in transient_retries():
            with attempt:
                request = self._postgrest.from_(table).update(dict(values), returning=ReturnMethod.representation)
                for column, operator, value in filters:
                    request = request.filter(column, operator, value)
                rows = await _execute(f"updating {table}", request.execute())
                return len(rows) if isinstance(rows, list) else 0
        raise AssertionError("tenacity raises the last error itself")

    async def _page(
        self, table: str, filters: Sequence[tuple[str, str, str]], after_id: str | None
    ) -> list[dict[str, object]]:
        # Paginated by key, not by offset, so that concurrent inserts and deletes do not skip rows. A project may limit
        # responses to fewer rows than requested; only an empty page is the last one.
        request = self._postgrest.from_(table).select("*").order("id").limit(ROWS_PER_PAGE)
        for column, operator, value in filters if after_id is None else (*filters, ("id", "gt", after_id)):
            request = request.filter(column, operator, value)
        page = await _execute(f"reading {table}", request.execute())
        return [row for row in page if isinstance(row, dict)] if isinstance(page, list) else []


def parse(shape: type[M], response: object) -> M:
    """Validate a response; raise `RequestRejected` if it has another shape, for example from another schema."""
    try:
        return shape.model_validate(response)
    except ValidationError as exc:
        raise RequestRejected(
            "unexpected_response", f"the response of the project is not a valid {shape.__name__}"
        ) from exc


async def _execute(doing: str, executing: Awaitable[APIResponse]) -> object:
    return (await _respond(doing, executing)).data


async def _respond(doing: str, executing: Awaitable[APIResponse]) -> APIResponse:
    try:
        return await executing
    except APIError as exc:
        raise map_api_error(exc.code, exc.message or f"{doing}: the response has no message", exc.hint) from exc
    except httpx.TransportError as exc:
        raise map_transport_error(doing, exc) from exc


def _defined_arguments(arguments: Mapping[str, object]) -> dict[str, object]:
    # An omitted argument takes the default of the SQL function, which treats null the same.
    return {name: replace_unstorable(value) for name, value in arguments.items() if value is not None}

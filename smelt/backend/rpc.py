"""Calls of SQL functions, and rows, through PostgREST, with errors of smelt's own tree."""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Final, TypeVar, cast
from uuid import UUID

import httpx
from postgrest import APIError, APIResponse, AsyncPostgrestClient
from postgrest.types import ReturnMethod
from pydantic import BaseModel, ConfigDict, RootModel, ValidationError

from smelt.backend.error_mapping import map_api_error, unanswered
from smelt.backend.json_text import replace_unstorable
from smelt.backend.retries import transient_retries
from smelt.errors import RequestRejected

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

ROWS_A_PAGE: Final = 500


class RpcResponse(RootModel[T]):
    """An answer that is no object; as with other models, what is wrong with it is told without it."""

    model_config = ConfigDict(hide_input_in_errors=True)


class Rpc:
    """The functions of one project; raises `Unavailable`, `Unauthorized`, `RequestRejected` or `NotFound`."""

    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self._postgrest = AsyncPostgrestClient(f"{url}/rest/v1", http_client=http, retry_enabled=False)

    async def call(self, function: str, /, **arguments: object) -> object:
        """Call a function whose repetition does no harm; repeated while the project does not answer."""
        async for attempt in transient_retries():
            with attempt:
                return await self.call_once(function, **arguments)
        raise AssertionError("tenacity raises the last error itself")

    async def call_once(self, function: str, /, **arguments: object) -> object:
        """Call a function exactly once."""
        # The client types parameters as strings; it sends any JSON.
        request = self._postgrest.rpc(function, cast("dict[str, str]", _given(arguments)))
        return await _answer(f"calling {function}", request.execute())

    async def row(self, table: str, row_id: UUID) -> object:
        """Read one row of a table once; None when there is none that the caller may see."""
        request = self._postgrest.from_(table).select("*").eq("id", str(row_id)).limit(1)
        rows = await _answer(f"reading {table}", request.execute())
        return rows[0] if isinstance(rows, list) and rows else None

    async def newest(self, table: str, columns: str, count: int, *filters: tuple[str, str, str]) -> object:
        """Read the newest `count` rows of a table that match and that the caller may see, the newest first."""
        async for attempt in transient_retries():
            with attempt:
                request = self._postgrest.from_(table).select(columns).order("created_at", desc=True).limit(count)
                for column, operator, value in filters:
                    request = request.filter(column, operator, value)
                return await _answer(f"reading {table}", request.execute())
        raise AssertionError("tenacity raises the last error itself")

    async def rows(self, table: str, *filters: tuple[str, str, str]) -> list[object]:
        """All rows of a table that match `(column, operator, value)` and that the caller may see, ordered by id."""
        found: list[object] = []
        last: str | None = None
        while page := await self._page(table, filters, last):
            found += page
            last = str(page[-1]["id"])
        return found

    async def update(self, table: str, values: Mapping[str, object], *filters: tuple[str, str, str]) -> int:
        """Change the rows that match, in a way that may be repeated; answers how many were changed."""
        async for attempt in transient_retries():
            with attempt:
                request = self._postgrest.from_(table).update(dict(values), returning=ReturnMethod.representation)
                for column, operator, value in filters:
                    request = request.filter(column, operator, value)
                rows = await _answer(f"updating {table}", request.execute())
                return len(rows) if isinstance(rows, list) else 0
        raise AssertionError("tenacity raises the last error itself")

    async def _page(
        self, table: str, filters: Sequence[tuple[str, str, str]], after_id: str | None
    ) -> list[dict[str, object]]:
        # By key and not by offset, so that a row that comes or goes meanwhile hides no other. A project may answer
        # fewer rows than asked for; only an empty page is the last one.
        request = self._postgrest.from_(table).select("*").order("id").limit(ROWS_A_PAGE)
        for column, operator, value in filters if after_id is None else (*filters, ("id", "gt", after_id)):
            request = request.filter(column, operator, value)
        page = await _answer(f"reading {table}", request.execute())
        return [row for row in page if isinstance(row, dict)] if isinstance(page, list) else []


def parse(shape: type[M], answer: object) -> M:
    """An answer in its typed shape; raises `RequestRejected` when it has another, as of a database that is not ours."""
    try:
        return shape.model_validate(answer)
    except ValidationError as exc:
        raise RequestRejected(
            "unexpected_answer", f"the project answers something that is no {shape.__name__}"
        ) from exc


async def _answer(doing: str, executing: Awaitable[APIResponse]) -> object:
    try:
        return (await executing).data
    except APIError as exc:
        raise map_api_error(
            exc.code, exc.message or f"{doing}: what answers there is not the database", exc.hint
        ) from exc
    except httpx.TransportError as exc:
        raise unanswered(doing, exc) from exc


def _given(arguments: Mapping[str, object]) -> dict[str, object]:
    # What is left out takes the default of the SQL function, which is also what null means to all of them.
    return {name: replace_unstorable(value) for name, value in arguments.items() if value is not None}

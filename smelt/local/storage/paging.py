"""The endpoint that lists all objects below a prefix in pages, with a cursor."""

import base64
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from smelt.local.keys import Keys
from smelt.local.storage import errors, tokens
from smelt.local.storage.body import Fields, read_body
from smelt.local.storage.database import Database, Operation
from smelt.local.storage.responses import json_response
from smelt.local.storage.rows import json_time

MAX_LIMIT: Final = 1000
_COLUMNS: Final = ("name", "updated_at", "created_at")
_ORDERS: Final = ("asc", "desc")

# With a delimiter, objects below the next slash after the prefix are listed as that folder.
_ENTRIES: Final = """
    with visible as (
        select o.*, case when %(folds)s then position('/' in substr(o.name, length(%(prefix)s) + 1)) else 0 end as slash
        from storage.objects as o
        where o.bucket_id = %(bucket_id)s and starts_with(o.name, %(prefix)s)
    ), entry as (
        select case when slash > 0 then left(name, length(%(prefix)s) + slash) else name end collate "C" as path,
               slash > 0 as is_folder, id, metadata, updated_at, created_at, last_accessed_at,
               date_trunc('milliseconds', updated_at) as updated_ms,
               date_trunc('milliseconds', created_at) as created_ms
        from visible
    ), listed as (
        select distinct on (path) * from entry order by path
    )
"""
_AFTER: Final = {"asc": ">", "desc": "<"}
_MOMENTS: Final = {"updated_at": "updated_ms", "created_at": "created_ms"}
_QUERIES: Final = {
    f"name {order}": f"""
    {_ENTRIES} select * from listed
    where %(last)s = '' or path {_AFTER[order]} %(last)s
    order by path {order} limit %(limit)s
    """
    for order in _ORDERS
} | {
    f"{column} {order}": f"""
    {_ENTRIES} select * from listed
    where %(last)s = '' or ({moment}, path) {_AFTER[order]} (%(last_moment)s::timestamptz, %(last)s)
    order by {moment} {order}, path {order} limit %(limit)s
    """
    for order in _ORDERS
    for column, moment in _MOMENTS.items()
}


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """The last entry of a page, and the order; unset values are empty."""

    last: str = ""
    order: str = ""
    column: str = ""
    last_moment: str = ""

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Parse the cursor of a previous page."""
        fields = {"l": "", "o": "asc", "c": "", "a": ""}
        try:
            lines = base64.b64decode(text + "==").decode().split("\n")
        except ValueError as exc:
            raise errors.invalid_parameter("continuation token") from exc
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or name not in fields:
                raise errors.invalid_parameter("continuation token")
            fields[name] = value
        cursor = cls(last=fields["l"], order=fields["o"], column=fields["c"], last_moment=fields["a"])
        if not cursor.is_valid():
            raise errors.invalid_parameter("continuation token")
        return cursor

    def is_valid(self) -> bool:
        """Return True if the order is valid and has the time that it needs."""
        if self.order not in ("", *_ORDERS) or self.column not in ("", *_COLUMNS):
            return False
        if self.column not in _MOMENTS or not self.last:
            return True
        try:
            datetime.fromisoformat(self.last_moment)
        except ValueError:
            return False
        return True

    def dump(self) -> str:
        """Return the cursor as text."""
        parts = {"l": self.last, "o": self.order, "c": self.column, "a": self.last_moment}
        lines = [f"{name}:{value}" for name, value in parts.items() if value]
        return base64.b64encode("\n".join(lines).encode()).decode()

    def after(self, row: dict[str, Any]) -> "Cursor":
        """Return the cursor for the page after one that ends with this row."""
        moment = json_time(row[self.column]) if self.column in _MOMENTS else ""
        return Cursor(last=row["path"], order=self.order, column=self.column, last_moment=moment or "")


@dataclass(frozen=True, kw_only=True)
class Page:
    """The parameters of a request for a page."""

    prefix: str
    folds: bool
    limit: int
    cursor: Cursor

    @classmethod
    def parse(cls, body: object) -> "Page":
        """Parse the body of a request for a page."""
        fields = Fields(body)
        prefix, text = fields.text("prefix"), fields.text("cursor")
        limit = fields.integer("limit", MAX_LIMIT, 1)
        folds = fields.flag("with_delimiter", default=False)
        sort = fields.fields("sortBy")
        fields.check()
        cursor = Cursor()
        if sort is not None:
            column = sort.choice("column", "name", _COLUMNS, required=True)
            cursor = Cursor(column=column, order=sort.choice("order", "asc", _ORDERS))
            sort.check()
        if text:
            cursor = Cursor.parse(text)
        return cls(prefix=prefix, folds=folds, limit=min(limit, MAX_LIMIT), cursor=cursor)

    def show(self, rows: list[dict[str, Any]]) -> dict[str, object]:
        """Return the page as JSON; `rows` has one more entry than the page if there is a next page."""
        has_next, rows = len(rows) > self.limit, rows[: self.limit]
        page: dict[str, object] = {"hasNext": has_next}
        if has_next:
            page |= {"nextCursor": self.cursor.after(rows[-1]).dump(), "nextCursorKey": rows[-1]["path"]}
        page["folders"] = [self._entry(row) for row in rows if row["is_folder"]]
        page["objects"] = [self._entry(row) for row in rows if not row["is_folder"]]
        return page

    def _entry(self, row: dict[str, Any]) -> dict[str, object]:
        key = {"key": row["path"].rstrip("/").rpartition("/")[2]} if self.folds else {}
        is_folder = row["is_folder"]
        return key | {
            "name": row["path"],
            "id": None if is_folder else str(row["id"]),
            "updated_at": None if is_folder else json_time(row["updated_at"]),
            "created_at": None if is_folder else json_time(row["created_at"]),
            "last_accessed_at": None if is_folder else json_time(row["last_accessed_at"]),
            "metadata": None if is_folder else row["metadata"],
        }


@dataclass(frozen=True)
class Pages:
    """The endpoint that lists objects in pages."""

    database: Database
    keys: Keys

    async def list(self, request: Request) -> Response:
        """`POST /object/list-v2/{bucket}`: return one page of objects and, with a delimiter, folders."""
        page = Page.parse(await read_body(request))
        caller = tokens.authenticate(request, self.keys, required=False)
        cursor = page.cursor
        async with self.database.acting_as(caller, Operation.of(request, "storage.object.list_v2")) as transaction:
            rows = await transaction.records(
                _QUERIES[f"{cursor.column or 'name'} {cursor.order or 'asc'}"],
                bucket_id=request.path_params["bucket"],
                prefix=page.prefix,
                folds=page.folds,
                last=cursor.last,
                last_moment=cursor.last_moment or None,
                limit=page.limit + 1,
            )
        return json_response(page.show(rows))

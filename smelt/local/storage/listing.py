"""The endpoint that lists objects, one level of folders at a time; policies apply to the caller."""

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from smelt.local.keys import Keys
from smelt.local.storage import tokens
from smelt.local.storage.body import Fields, read_body
from smelt.local.storage.database import Database, Operation
from smelt.local.storage.responses import json_response
from smelt.local.storage.rows import json_time

# An entry is an object, or a folder: the name of an object up to the next slash after the stem. Names are compared
# without case; of folders that differ only in case, the first one gives the name.
_ENTRIES: Final = """
    with visible as (
        select o.*, position('/' in substr(o.name, length(%(stem)s) + 1)) as slash
        from storage.objects as o
        where o.bucket_id = %(bucket_id)s and starts_with(lower(o.name), lower(%(stem)s))
    ), entry as (
        select substr(
                   case when slash > 0 then left(name, length(%(stem)s) + slash - 1) else name end,
                   length(%(prefix)s) + 1
               ) as label,
               slash > 0 as is_folder, visible.*
        from visible
    )
"""
_SHOWN: Final = """
    select label as name,
           case when not is_folder then id end as id,
           case when not is_folder then updated_at end as updated_at,
           case when not is_folder then created_at end as created_at,
           case when not is_folder then last_accessed_at end as last_accessed_at,
           case when not is_folder then metadata end as metadata
    from listed
"""
_BY_NAME: Final = {
    order: f"""
    {_ENTRIES}, listed as (
        select distinct on (lower(label) collate "C", is_folder) * from entry
        order by lower(label) collate "C", is_folder, lower(name) collate "C" {order}
    )
    {_SHOWN} order by lower(label) collate "C" {order}, is_folder {order} limit %(limit)s offset %(offset)s
    """
    for order in ("asc", "desc")
}
_BY_TIME: Final = {
    f"{column} {order}": f"""
    {_ENTRIES}, listed as (
        select distinct on (label collate "C") * from entry where is_folder
        union all
        select * from entry where not is_folder
    )
    {_SHOWN}
    order by is_folder desc, case when is_folder then label end collate "C" {order},
             listed.{column} {order}, label collate "C" {order}
    limit %(limit)s offset %(offset)s
    """
    for column in ("updated_at", "created_at", "last_accessed_at")
    for order in ("asc", "desc")
}
_COLUMNS: Final = ("name", "updated_at", "created_at", "last_accessed_at")


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The parameters of a list request."""

    prefix: str
    search: str
    limit: int
    offset: int
    column: str
    order: str

    @classmethod
    def parse(cls, body: object) -> "Listing":
        """Parse the body of a list request."""
        fields = Fields(body)
        prefix = fields.text("prefix", required=True)
        limit = fields.integer("limit", 100, 1)
        offset = fields.integer("offset", 0, 0)
        sort = fields.fields("sortBy")
        search = fields.text("search")
        fields.check()
        column, order = "name", "asc"
        if sort is not None:
            column = sort.choice("column", "name", _COLUMNS, required=True)
            order = sort.choice("order", "asc", ("asc", "desc"))
            sort.check()
        folder = prefix if not prefix or prefix.endswith("/") else f"{prefix}/"
        return cls(prefix=folder, search=search, limit=limit, offset=offset, column=column, order=order)

    def query(self) -> str:
        """Return the statement for this order."""
        return _BY_NAME[self.order] if self.column == "name" else _BY_TIME[f"{self.column} {self.order}"]


@dataclass(frozen=True)
class Listings:
    """The endpoint that lists a folder."""

    database: Database
    keys: Keys

    async def list(self, request: Request) -> Response:
        """`POST /object/list/{bucket}`: list the objects and folders of one level; none if the bucket is missing."""
        listing = Listing.parse(await read_body(request))
        caller = tokens.authenticate(request, self.keys)
        async with self.database.acting_as(caller, Operation.of(request, "storage.object.list")) as transaction:
            rows = await transaction.records(
                listing.query(),
                bucket_id=request.path_params["bucket"],
                prefix=listing.prefix,
                stem=listing.prefix + listing.search,
                limit=listing.limit,
                offset=listing.offset,
            )
        return json_response(
            [
                {
                    "name": row["name"],
                    "id": None if row["id"] is None else str(row["id"]),
                    "updated_at": json_time(row["updated_at"]),
                    "created_at": json_time(row["created_at"]),
                    "last_accessed_at": json_time(row["last_accessed_at"]),
                    "metadata": row["metadata"],
                }
                for row in rows
            ]
        )

"""Endpoints for buckets; the policies of storage.buckets apply to the caller."""

from dataclasses import asdict, dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from smelt.local.keys import Keys
from smelt.local.storage import errors, media, names, tokens
from smelt.local.storage.body import Fields, read_body
from smelt.local.storage.database import Database, Operation, Transaction
from smelt.local.storage.files import FileStore
from smelt.local.storage.objects import RETURNING_OBJECT
from smelt.local.storage.responses import json_response
from smelt.local.storage.rows import Bucket, StoredObject

_COLUMNS: Final = (
    "id, name, owner, public, type::text as type, file_size_limit, allowed_mime_types, created_at, updated_at"
)
_FIND: Final = f"select {_COLUMNS} from storage.buckets where id = %(id)s"
_INSERT: Final = """
    insert into storage.buckets (id, name, owner, owner_id, public, file_size_limit, allowed_mime_types)
    values (%(id)s, %(name)s, %(owner)s, %(owner_id)s, %(public)s, %(file_size_limit)s, %(allowed_mime_types)s)
"""
_UPDATE: Final = """
    update storage.buckets set
        public = case when %(sets_public)s then %(public)s else public end,
        file_size_limit = case when %(sets_limit)s then %(file_size_limit)s else file_size_limit end,
        allowed_mime_types = case when %(sets_types)s then %(allowed_mime_types)s else allowed_mime_types end
    where id = %(id)s
"""
_LIST: Final = f"""
    select {_COLUMNS} from storage.buckets where position(lower(%(search)s) in lower(name)) > 0
"""
_ORDERS: Final = {
    f"{column} {order}": f" order by {column} {order}, id limit %(limit)s offset %(offset)s"
    for column in ("id", "name", "created_at", "updated_at")
    for order in ("asc", "desc")
}
_HAS_OBJECTS: Final = "select from storage.objects where bucket_id = %(id)s limit 1"
_EMPTY: Final = f"delete from storage.objects where bucket_id = %(id)s {RETURNING_OBJECT}"

_LIMITS: Final = ("public", "file_size_limit", "allowed_mime_types")
_ALL: Final = 2**31 - 1


async def find_bucket(transaction: Transaction, bucket_id: str) -> Bucket:
    """Return the bucket; raise `StorageError` if it does not exist or policies hide it."""
    bucket = await transaction.one(Bucket, _FIND, id=bucket_id)
    if bucket is None:
        raise errors.no_such_bucket()
    return bucket


@dataclass(frozen=True)
class BucketLimits:
    """The access settings and upload limits of a bucket."""

    public: bool
    file_size_limit: int | None
    allowed_mime_types: list[str] | None

    @classmethod
    def take(cls, fields: Fields) -> "BucketLimits":
        """Parse the limits from the body of a request."""
        return cls(
            public=fields.flag("public", default=False),
            file_size_limit=fields.size_limit("file_size_limit"),
            allowed_mime_types=fields.optional_texts("allowed_mime_types"),
        )

    def check(self, global_limit: int) -> None:
        """Raise `StorageError` for a size limit above the server's, or an invalid media type."""
        if (self.file_size_limit or 0) > global_limit:
            raise errors.too_large()
        media.check_allowed_types(self.allowed_mime_types or [])


@dataclass(frozen=True)
class Buckets:
    """The endpoints below `/bucket`."""

    database: Database
    files: FileStore
    keys: Keys
    size_limit: int

    async def create(self, request: Request) -> Response:
        """`POST /bucket`: create a bucket."""
        fields = Fields(await read_body(request))
        name = fields.text("name", required=True)
        bucket_id = fields.text("id", name)
        limits = BucketLimits.take(fields)
        fields.check()
        caller = tokens.authenticate(request, self.keys)
        names.check_bucket_name(name)
        names.check_bucket_name(bucket_id)
        limits.check(self.size_limit)
        operation = Operation.of(request, "storage.bucket.create")
        async with self.database.acting_as(caller, operation, duplicate="BucketAlreadyExists") as transaction:
            owner = {"owner": caller.owner, "owner_id": caller.subject}
            await transaction.execute(_INSERT, id=bucket_id, name=name, **owner, **asdict(limits))
        return json_response({"name": name})

    async def list(self, request: Request) -> Response:
        """`GET /bucket`: list the buckets that the caller can see."""
        fields = Fields(dict(request.query_params), "querystring")
        limit = fields.integer("limit", _ALL, 1)
        offset = fields.integer("offset", 0, 0)
        column = fields.choice("sortColumn", "created_at", ("id", "name", "created_at", "updated_at"))
        order = fields.choice("sortOrder", "asc", ("asc", "desc"))
        search = fields.text("search")
        fields.check()
        caller = tokens.authenticate(request, self.keys)
        async with self.database.acting_as(caller, Operation.of(request, "storage.bucket.list")) as transaction:
            query = _LIST + _ORDERS[f"{column} {order}"]
            buckets = await transaction.many(Bucket, query, search=search, limit=limit, offset=offset)
        return json_response([bucket.as_list_item() for bucket in buckets])

    async def get(self, request: Request) -> Response:
        """`GET /bucket/{id}`: return a bucket."""
        caller = tokens.authenticate(request, self.keys)
        async with self.database.acting_as(caller, Operation.of(request, "storage.bucket.get")) as transaction:
            bucket = await find_bucket(transaction, request.path_params["bucket"])
        return json_response(bucket.as_json())

    async def update(self, request: Request) -> Response:
        """`PUT /bucket/{id}`: change the settings in the body."""
        fields = Fields(await read_body(request))
        if not any(name in fields for name in _LIMITS):
            missing = [f"body must have required property '{name}'" for name in _LIMITS]
            raise errors.invalid_request(", ".join([*missing, "body must match a schema in anyOf"]))
        limits = BucketLimits.take(fields)
        fields.check()
        caller = tokens.authenticate(request, self.keys)
        limits.check(self.size_limit)
        async with self.database.acting_as(caller, Operation.of(request, "storage.bucket.update")) as transaction:
            changed = await transaction.execute(
                _UPDATE,
                id=request.path_params["bucket"],
                sets_public="public" in fields,
                sets_limit="file_size_limit" in fields,
                sets_types="allowed_mime_types" in fields,
                **asdict(limits),
            )
        if not changed:
            raise errors.no_such_bucket()
        return json_response({"message": "Successfully updated"})

    async def delete(self, request: Request) -> Response:
        """`DELETE /bucket/{id}`: remove an empty bucket."""
        caller, bucket_id = tokens.authenticate(request, self.keys), request.path_params["bucket"]
        operation = Operation.of(request, "storage.bucket.delete")
        async with self.database.acting_as(caller, operation) as transaction:
            await find_bucket(transaction, bucket_id)
        async with self.database.as_service(operation) as transaction:
            if await transaction.records(_HAS_OBJECTS, id=bucket_id):
                raise errors.bucket_not_empty()
        async with self.database.acting_as(caller, operation) as transaction:
            if not await transaction.execute("delete from storage.buckets where id = %(id)s", id=bucket_id):
                raise errors.no_such_bucket()
        return json_response({"message": "Successfully deleted"})

    async def empty(self, request: Request) -> Response:
        """`POST /bucket/{id}/empty`: remove all objects of a bucket; requires the service key."""
        caller, bucket_id = tokens.authenticate(request, self.keys), request.path_params["bucket"]
        if caller.role != "service_role":
            raise errors.invalid_role()
        async with self.database.acting_as(caller, Operation.of(request, "storage.bucket.empty")) as transaction:
            await find_bucket(transaction, bucket_id)
            removed = await transaction.many(StoredObject, _EMPTY, id=bucket_id)
        for row in removed:
            await self.files.remove(row.bucket_id, row.name, row.version)
        return json_response({"message": "Empty bucket has been queued. Completion may take up to an hour."})

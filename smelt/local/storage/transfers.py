"""Endpoints that move and copy objects; the contents are linked, not copied."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from psycopg.types.json import Jsonb
from starlette.requests import Request
from starlette.responses import Response

from smelt.local.keys import Keys
from smelt.local.storage import errors, names, tokens
from smelt.local.storage.body import Fields, read_body
from smelt.local.storage.database import Database, Operation
from smelt.local.storage.files import FileStore
from smelt.local.storage.incoming import decode_metadata
from smelt.local.storage.objects import find_object
from smelt.local.storage.responses import json_response
from smelt.local.storage.rows import StoredObject, json_time
from smelt.local.storage.writing import Target, commit_row, try_insert

_MOVE: Final = """
    update storage.objects
    set bucket_id = %(to_bucket)s, name = %(to_key)s, version = %(version)s, metadata = metadata || %(metadata)s
    where bucket_id = %(bucket_id)s and name = %(key)s
"""


@dataclass(frozen=True, kw_only=True)
class Route:
    """The source and target of a move or copy."""

    source_bucket: str
    source_key: str
    target_bucket: str
    target_key: str

    @classmethod
    def take(cls, fields: Fields) -> "Route":
        """Parse the body of a move or copy."""
        bucket_id = fields.text("bucketId", required=True)
        source_key = fields.text("sourceKey", required=True)
        target_key = fields.text("destinationKey", required=True)
        target_bucket = fields.text("destinationBucket", bucket_id)
        return cls(source_bucket=bucket_id, source_key=source_key, target_bucket=target_bucket, target_key=target_key)


@dataclass(frozen=True)
class Transfers:
    """The endpoints that move and copy objects."""

    database: Database
    files: FileStore
    keys: Keys

    async def move(self, request: Request) -> Response:
        """`POST /object/move`: move an object; the policies for UPDATE apply."""
        fields = Fields(await read_body(request))
        route = Route.take(fields)
        fields.check()
        caller = tokens.authenticate(request, self.keys)
        target = Target.of(route.target_bucket, route.target_key, caller.subject)
        names.check_key(target.key)
        async with self.database.acting_as(caller, Operation.of(request, "storage.object.move")) as transaction:
            source = await find_object(transaction, route.source_bucket, route.source_key)
            moved = await transaction.execute(
                _MOVE,
                bucket_id=source.bucket_id,
                key=source.name,
                to_bucket=target.bucket_id,
                to_key=target.key,
                version=target.version,
                metadata=Jsonb({"lastModified": json_time(datetime.now(UTC))}),
            )
            if not moved:
                raise errors.no_such_key()
            await self._link(source, target)
        await self.files.remove(source.bucket_id, source.name, source.version)
        return json_response({"message": "Successfully moved"})

    async def copy(self, request: Request) -> Response:
        """`POST /object/copy`: copy an object; the policies for SELECT of the source and INSERT of the target apply."""
        fields = Fields(await read_body(request))
        route = Route.take(fields)
        keeps_metadata = fields.flag("copyMetadata", default=True)
        given = fields.fields("metadata")
        changes = {} if given is None else {name: given.text(name) for name in ("mimetype", "cacheControl")}
        fields.check()
        caller = tokens.authenticate(request, self.keys)
        operation = Operation.of(request, "storage.object.copy")
        target = Target.of(route.target_bucket, route.target_key, caller.subject)
        names.check_key(target.key)
        async with self.database.acting_as(caller, operation) as transaction:
            source = await find_object(transaction, route.source_bucket, route.source_key)
        user_metadata: Any = source.user_metadata
        if not keeps_metadata:
            user_metadata = decode_metadata(request.headers.get("x-metadata"))
        new = {name: value for name, value in changes.items() if value and not keeps_metadata}
        metadata = {**source.metadata, **new, "lastModified": json_time(datetime.now(UTC))}
        row = target.row(metadata, user_metadata)
        upsert = request.headers.get("x-upsert") == "true"
        await try_insert(self.database, caller, operation, row, upsert=upsert)
        return await self._write_copy(operation, source, target, row)

    async def _write_copy(
        self, operation: Operation, source: StoredObject, target: Target, row: dict[str, object]
    ) -> Response:
        await self._link(source, target)
        written = await commit_row(self.database, self.files, operation, row)
        names_of_copy = {"Key": f"{target.bucket_id}/{target.key}", "Id": str(written.id)}
        return json_response(names_of_copy | written.as_row())

    async def _link(self, source: StoredObject, target: Target) -> None:
        names.check_unicode(target.bucket_id, target.key, target.version)
        await self.files.link(
            (source.bucket_id, source.name, source.version), (target.bucket_id, target.key, target.version)
        )

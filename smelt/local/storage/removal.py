"""Endpoints that remove objects as the caller."""

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from smelt.local.keys import Keys
from smelt.local.storage import errors, tokens
from smelt.local.storage.body import Fields, read_body
from smelt.local.storage.database import Database, Operation, Transaction
from smelt.local.storage.files import FileStore
from smelt.local.storage.objects import RETURNING_OBJECT, find_object
from smelt.local.storage.responses import json_response
from smelt.local.storage.rows import StoredObject

_DELETE: Final = f"""
    delete from storage.objects where bucket_id = %(bucket_id)s and name = any(%(keys)s) {RETURNING_OBJECT}
"""


@dataclass(frozen=True)
class Removal:
    """The endpoints that remove objects."""

    database: Database
    files: FileStore
    keys: Keys

    async def remove(self, request: Request) -> Response:
        """`DELETE /object/{bucket}/{key}`: remove one object."""
        await read_body(request)
        caller = tokens.authenticate(request, self.keys)
        bucket_id, key = request.path_params["bucket"], request.path_params["key"]
        operation = Operation.of(request, "storage.object.delete")
        async with self.database.as_service(operation) as transaction:
            await find_object(transaction, bucket_id, key)
        async with self.database.acting_as(caller, operation) as transaction:
            removed = await _delete(transaction, bucket_id, [key])
        if not removed:
            raise errors.access_denied("Access denied")
        await self._remove_files(removed)
        return json_response({"message": "Successfully deleted"})

    async def remove_many(self, request: Request) -> Response:
        """`DELETE /object/{bucket}` `{prefixes}`: remove the objects that the caller may remove; return their rows."""
        fields = Fields(await read_body(request))
        keys = fields.texts("prefixes")
        fields.check()
        caller, bucket_id = tokens.authenticate(request, self.keys), request.path_params["bucket"]
        async with self.database.acting_as(caller, Operation.of(request, "storage.object.delete_many")) as transaction:
            removed = await _delete(transaction, bucket_id, keys)
        await self._remove_files(removed)
        return json_response([row.as_removed_row() for row in removed])

    async def _remove_files(self, removed: list[StoredObject]) -> None:
        for row in removed:
            await self.files.remove(row.bucket_id, row.name, row.version)


async def _delete(transaction: Transaction, bucket_id: str, keys: list[str]) -> list[StoredObject]:
    removed = await transaction.many(StoredObject, _DELETE, bucket_id=bucket_id, keys=keys)
    return sorted(removed, key=lambda row: keys.index(row.name))

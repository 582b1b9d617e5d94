"""Endpoints for uploads: the caller is authorized before any byte is read, and the row is written after the file."""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from smelt.local.keys import Keys
from smelt.local.storage import errors, media, names, tokens
from smelt.local.storage.body import read_body
from smelt.local.storage.buckets import find_bucket
from smelt.local.storage.database import Database, Operation
from smelt.local.storage.files import FileStore
from smelt.local.storage.incoming import Upload, declared_bytes, read_upload
from smelt.local.storage.responses import json_response
from smelt.local.storage.rows import Bucket, StoredObject
from smelt.local.storage.tokens import StorageCaller
from smelt.local.storage.writing import Target, commit_row, final_metadata, preliminary_metadata, try_insert


@dataclass(frozen=True)
class Uploads:
    """The endpoints that upload objects and sign upload URLs."""

    database: Database
    files: FileStore
    keys: Keys
    size_limit: int

    async def upload(self, request: Request) -> Response:
        """`POST /object/{bucket}/{key}`: store an object; `x-upsert: true` or PUT also replaces an existing one."""
        caller = tokens.authenticate(request, self.keys)
        is_put = request.method == "PUT"
        operation = Operation.of(request, "storage.object.upload_update" if is_put else "storage.object.upload")
        target = Target.of(request.path_params["bucket"], request.path_params["key"], caller.subject)
        upsert = is_put or _is_upsert(request)
        stored = await self._receive(request, caller, operation, target, upsert=upsert)
        return json_response({"Key": f"{target.bucket_id}/{target.key}", "Id": str(stored.id)})

    async def sign(self, request: Request) -> Response:
        """`POST /object/upload/sign/{bucket}/{key}`: sign an upload URL; the caller must be allowed to insert now."""
        await read_body(request)
        caller = tokens.authenticate(request, self.keys)
        target = Target.of(request.path_params["bucket"], request.path_params["key"], caller.subject)
        operation = Operation.of(request, "storage.object.sign_upload_url")
        metadata = preliminary_metadata(request.headers.get("content-type"), declared_bytes(request))
        upsert = _is_upsert(request)
        await try_insert(self.database, caller, operation, target.row(metadata, {}), upsert=upsert)
        token = tokens.sign_upload_url(self.keys, caller, target.bucket_id, target.key, upsert=upsert)
        return json_response(
            {"url": f"/object/upload/sign/{target.bucket_id}/{target.key}?token={token}", "token": token}
        )

    async def upload_signed(self, request: Request) -> Response:
        """`PUT /object/upload/sign/{bucket}/{key}?token=`: upload with a signed URL, without another policy check."""
        bucket_id, key = request.path_params["bucket"], request.path_params["key"]
        token = request.query_params.get("token")
        claims = tokens.read_url_token(token, self.keys, "upload", f"{bucket_id}/{key}")
        operation = Operation.of(request, "storage.object.upload_signed")
        target = Target.of(bucket_id, key, claims.get("owner"))
        await self._receive(request, tokens.SERVICE, operation, target, upsert=bool(claims.get("upsert")))
        return json_response({"Key": f"{bucket_id}/{key}"})

    async def _receive(
        self, request: Request, caller: StorageCaller, operation: Operation, target: Target, *, upsert: bool
    ) -> StoredObject:
        """Validate the request before its body is read, in the platform's order, then store the object."""
        async with self.database.as_service(operation) as transaction:
            bucket = await find_bucket(transaction, target.bucket_id)
        upload = await read_upload(request)
        limit = self._limit(bucket, target.key, upload)
        if not upload.is_form and (upload.declared_bytes or 0) > limit:
            raise errors.too_large()
        names.check_key(target.key)
        metadata = preliminary_metadata(upload.content_type, upload.declared_bytes)
        row = target.row(metadata, upload.user_metadata)
        await try_insert(self.database, caller, operation, row, upsert=upsert)
        names.check_unicode(target.bucket_id, target.key, target.version)
        return await self._store(operation, target, upload, limit)

    def _limit(self, bucket: Bucket, key: str, upload: Upload) -> int:
        if names.is_placeholder(key):
            return 0
        media.check_type(upload.content_type, bucket.allowed_mime_types)
        # The platform applies a bucket's limit only to forms and declared lengths: a chunked body can exceed it, so
        # code that relies on sizes must check the row. The server's own limit applies to every body.
        is_measured = upload.is_form or upload.declared_bytes is not None
        return bucket.size_limit(self.size_limit) if is_measured else self.size_limit

    async def _store(self, operation: Operation, target: Target, upload: Upload, limit: int) -> StoredObject:
        """Write the file, then the row, and return the row."""
        async with self.files.receive() as incoming:
            async for chunk in upload.chunks:
                if incoming.size_bytes + len(chunk) > limit:
                    raise errors.too_large()
                await incoming.write(chunk)
            md5 = await incoming.finish()
            await self.files.place(incoming.path, target.bucket_id, target.key, target.version)
        metadata = final_metadata(
            size_bytes=incoming.size_bytes,
            md5=md5,
            mime_type=upload.content_type,
            cache_control=upload.cache_control,
            robots_tag=upload.robots_tag,
        )
        row = target.row(metadata, upload.user_metadata)
        return await commit_row(self.database, self.files, operation, row)


def _is_upsert(request: Request) -> bool:
    return request.headers.get("x-upsert") == "true"

"""Writes rows of storage.objects: a trial insert as the caller, and the final row after the upload."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from smelt.local.storage import errors
from smelt.local.storage.database import Database, Operation, Transaction
from smelt.local.storage.files import FileStore
from smelt.local.storage.objects import RETURNING_OBJECT
from smelt.local.storage.rows import StoredObject, json_time
from smelt.local.storage.tokens import StorageCaller

_INSERT: Final = """
    insert into storage.objects (bucket_id, name, owner, owner_id, version, metadata, user_metadata)
    values (%(bucket_id)s, %(key)s, %(owner)s, %(owner_id)s, %(version)s, %(metadata)s, %(user_metadata)s)
"""
_UPSERT: Final = f"""
    {_INSERT}
    on conflict (bucket_id, name) do update set
        owner = excluded.owner, owner_id = excluded.owner_id, version = excluded.version,
        metadata = excluded.metadata, user_metadata = excluded.user_metadata
"""
_LOCK: Final = "select pg_advisory_xact_lock(hashtextextended(%(bucket_id)s || '/' || %(key)s, 0))"
_OLD_VERSION: Final = "select version from storage.objects where bucket_id = %(bucket_id)s and name = %(key)s"


@dataclass(frozen=True, kw_only=True)
class Target:
    """The bucket, key, owner and version of an object to write."""

    bucket_id: str
    key: str
    owner: UUID | None
    owner_id: str | None
    version: str

    @classmethod
    def of(cls, bucket_id: str, key: str, owner_id: str | None) -> "Target":
        """Return a target with a new version."""
        owner = StorageCaller(role="", subject=owner_id, claims="").owner
        return cls(bucket_id=bucket_id, key=key, owner=owner, owner_id=owner_id, version=str(uuid4()))

    def row(self, metadata: object, user_metadata: object) -> dict[str, object]:
        """Return the values of the row."""
        return {
            "bucket_id": self.bucket_id,
            "key": self.key,
            "owner": self.owner,
            "owner_id": self.owner_id,
            "version": self.version,
            "metadata": Jsonb(metadata),
            "user_metadata": Jsonb(user_metadata),
        }


async def try_insert(
    database: Database, caller: StorageCaller, operation: Operation, row: dict[str, object], *, upsert: bool
) -> None:
    """Insert the row as the caller and roll back, so that policies reject an upload before any byte is read."""
    async with database.acting_as(caller, operation, duplicate="KeyAlreadyExists") as transaction:
        await transaction.execute(_UPSERT if upsert else _INSERT, **row)
        await transaction.roll_back()


async def commit_row(
    database: Database, files: FileStore, operation: Operation, row: dict[str, object]
) -> StoredObject:
    """Write the row of a file that is in place, as the service role, and remove the file of the replaced version.

    If Postgres rejects the row, the file is removed. After any other error the row may have been committed: the file
    stays, and the next start removes it if it has no row.
    """
    bucket_id, key = str(row["bucket_id"]), str(row["key"])
    try:
        async with database.as_service(operation) as transaction:
            written, replaced = await _write_row(transaction, row)
    except errors.StorageError as exc:
        if exc.is_rolled_back:
            await files.remove(bucket_id, key, str(row["version"]))
        raise
    if replaced is not None:
        await files.remove(bucket_id, key, replaced)
    return written


async def _write_row(transaction: Transaction, row: dict[str, object]) -> tuple[StoredObject, str | None]:
    """Write the row under a lock on the key; return it and the replaced version.

    Of concurrent uploads to one key, the last one wins. The id and the creation time do not change.
    """
    identity = {"bucket_id": row["bucket_id"], "key": row["key"]}
    await transaction.execute(_LOCK, **identity)
    old = await transaction.records(_OLD_VERSION, **identity)
    written = await transaction.one(StoredObject, _UPSERT + RETURNING_OBJECT, **row)
    assert written is not None
    return written, old[0]["version"] if old else None


def preliminary_metadata(mime_type: str | None, length: int | None) -> dict[str, object]:
    """Return the metadata that policies can read before the upload."""
    known = {"mimetype": mime_type, "contentLength": length}
    return {name: value for name, value in known.items() if value is not None}


def final_metadata(
    *, size_bytes: int, md5: str, mime_type: str, cache_control: str, robots_tag: str | None = None
) -> dict[str, object]:
    """Return the metadata of a stored object; `md5` is in hexadecimal."""
    metadata: dict[str, object] = {
        "eTag": f'"{md5}"',
        "size": size_bytes,
        "mimetype": mime_type,
        "cacheControl": cache_control,
        "lastModified": json_time(datetime.now(UTC)),
        "contentLength": size_bytes,
        "httpStatusCode": 200,
    }
    return metadata if robots_tag is None else metadata | {"xRobotsTag": robots_tag}

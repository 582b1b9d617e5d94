"""Writes rows of storage.objects: a trial insert as the caller, and the final row after the upload."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from smelt.local.storage.database import Database, Operation, Transaction
from smelt.local.storage.objects import RETURNING_OBJECT
from smelt.local.storage.rows import StoredObject
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


async def write_row(transaction: Transaction, row: dict[str, object]) -> tuple[StoredObject, str | None]:
    """Write the row under a lock on the key; return it and the replaced version.

    Of concurrent uploads to one key, the last one wins. The id and the creation time do not change.
    """
    identity = {"bucket_id": row["bucket_id"], "key": row["key"]}
    await transaction.execute(_LOCK, **identity)
    old = await transaction.records(_OLD_VERSION, **identity)
    written = await transaction.one(StoredObject, _UPSERT + RETURNING_OBJECT, **row)
    assert written is not None
    return written, old[0]["version"] if old else None

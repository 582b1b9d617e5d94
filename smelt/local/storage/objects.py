"""Reads rows of storage.objects."""

from typing import Final

from smelt.local.storage import errors
from smelt.local.storage.database import Transaction
from smelt.local.storage.rows import StoredObject

OBJECT_COLUMNS: Final = """
    id, bucket_id, name, owner, owner_id, coalesce(version, '') as version,
    coalesce(metadata, '{}') as metadata, user_metadata, created_at, updated_at, last_accessed_at
"""
RETURNING_OBJECT: Final = f"returning {OBJECT_COLUMNS}"

_FIND: Final = f"""
    select {OBJECT_COLUMNS} from storage.objects where bucket_id = %(bucket_id)s and name = %(key)s
"""


async def find_object(transaction: Transaction, bucket_id: str, key: str) -> StoredObject:
    """Return the object; raise `StorageError` if it does not exist or policies hide it."""
    found = await transaction.one(StoredObject, _FIND, bucket_id=bucket_id, key=key)
    if found is None:
        raise errors.no_such_key()
    return found

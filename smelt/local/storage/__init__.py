"""The Storage API of the embedded stack, as far as the official clients use it for recordings.

Buckets; uploads raw and as forms, signed or not; downloads with ranges, signed or not; information, listing, removing,
moving and copying of objects. The policies of `storage.objects` are applied by Postgres to the calling role. Bytes are
streamed both ways. Resumable uploads, image transformation, S3 and the like are left to `supabase start`.
"""

from smelt.local.storage.app import create_storage
from smelt.local.storage.database import Database
from smelt.local.storage.files import FileStore

__all__ = ["Database", "FileStore", "create_storage"]

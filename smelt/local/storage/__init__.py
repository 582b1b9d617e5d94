"""The Storage API of the embedded stack, limited to what the official clients use for recordings.

It offers buckets; raw and multipart uploads and ranged downloads, each with or without signed URLs; and info, listing,
removal, move and copy of objects. Postgres applies the policies of `storage.objects` to the caller's role. Bodies are
streamed in both directions. Resumable uploads (TUS) survive cuts and restarts, and expire after 24 hours; at most 16 of
one object and 1,000 of one user can be unfinished, and visitors without a session count as one user. Image
transformation, S3 and others are left to `supabase start`.
"""

from smelt.local.storage.app import create_storage
from smelt.local.storage.database import Database
from smelt.local.storage.files import FileStore
from smelt.local.storage.unfinished import UnfinishedUploads

__all__ = ["Database", "FileStore", "UnfinishedUploads", "create_storage"]

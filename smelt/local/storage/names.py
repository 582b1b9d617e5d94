"""Names of buckets and objects: what the platform accepts."""

import re
from typing import Final

from smelt.local.storage import errors

# The characters that S3 calls safe, and a few that need care in URLs.
_KEY: Final = re.compile(r"[A-Za-z0-9_/!.*'() &$=@;:+,?-]+", re.ASCII)
_BUCKET: Final = re.compile(r"[A-Za-z0-9_!.*'() &$=@;:+,?-]{1,100}", re.ASCII)

MAX_KEY_BYTES: Final = 1024
PLACEHOLDER: Final = ".emptyFolderPlaceholder"
"""What the dashboard writes to make a folder; it must be empty, and its type is not looked at."""


def check_key(key: str) -> None:
    """Refuse a key with a character outside of the platform's alphabet, and an empty one."""
    if _KEY.fullmatch(key) is None:
        raise errors.invalid_key(key)


def check_unicode(bucket_id: str, key: str, version: str) -> None:
    """Refuse what the platform's object store refuses once it is asked to write: dot segments and overlong keys."""
    if any(segment in (".", "..") for segment in key.split("/")):
        # The tenant of `supabase start` is called `stub`, and so is its object store.
        raise errors.invalid_key(f"stub/stub/{bucket_id}/{key}/{version} contains dot path segment")
    if len(key) > MAX_KEY_BYTES:
        raise errors.internal_error()


def check_bucket_name(name: str) -> None:
    """Refuse a bucket name with a slash, other characters that are not safe, or spaces around it."""
    if _BUCKET.fullmatch(name) is None or name != name.strip():
        raise errors.invalid_bucket_name()


def is_placeholder(key: str) -> bool:
    """Whether the object only marks a folder."""
    return key.endswith(PLACEHOLDER)

"""Validation of bucket names and object keys, with the platform's rules."""

import re
from typing import Final

from smelt.local.storage import errors

# The safe characters of S3, and some that need escapes in URLs.
_KEY: Final = re.compile(r"[A-Za-z0-9_/!.*'() &$=@;:+,?-]+", re.ASCII)
_BUCKET: Final = re.compile(r"[A-Za-z0-9_!.*'() &$=@;:+,?-]{1,100}", re.ASCII)

MAX_KEY_BYTES: Final = 1024
PLACEHOLDER: Final = ".emptyFolderPlaceholder"
"""Name of the object by which the dashboard creates a folder; it must be empty, and may have any type."""


def check_key(key: str) -> None:
    """Raise `StorageError` for an empty key, or one with characters that are not allowed."""
    if _KEY.fullmatch(key) is None:
        raise errors.invalid_key(key)


def check_unicode(bucket_id: str, key: str, version: str, *, root: str = "stub/stub") -> None:
    """Raise `StorageError` for dot segments and too long keys, which the platform's object store rejects on writing.

    `root` is the folder in the platform's error message.
    """
    if any(segment in (".", "..") for segment in key.split("/")):
        # In `supabase start`, both the tenant and the object store are named `stub`.
        raise errors.invalid_key(f"{root}/{bucket_id}/{key}/{version} contains dot path segment")
    if len(key) > MAX_KEY_BYTES:
        raise errors.internal_error()


def check_bucket_name(name: str) -> None:
    """Raise `StorageError` for a name with a slash, other unsafe characters, or surrounding spaces."""
    if _BUCKET.fullmatch(name) is None or name != name.strip():
        raise errors.invalid_bucket_name()


def is_placeholder(key: str) -> bool:
    """Return True if the object is a folder placeholder."""
    return key.endswith(PLACEHOLDER)

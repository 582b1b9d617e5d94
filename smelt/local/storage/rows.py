"""Rows of storage.buckets and storage.objects, and their JSON in the platform's format."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final
from uuid import UUID

_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e\x80-\xff]+")

Json = Mapping[str, Any]
"""A JSON object from a jsonb column."""


def json_time(moment: datetime | None) -> str | None:
    """Return a timestamp in JavaScript's format: UTC, milliseconds, `Z`."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A row of storage.buckets."""

    id: str
    name: str
    owner: UUID | None
    public: bool
    type: str
    file_size_limit: int | None
    allowed_mime_types: list[str] | None
    created_at: datetime
    updated_at: datetime

    def size_limit(self, global_limit: int) -> int:
        """Return the maximum size of an object in this bucket, in bytes."""
        return global_limit if self.file_size_limit is None else min(self.file_size_limit, global_limit)

    def as_json(self) -> dict[str, object]:
        """Return the bucket as in `GET /bucket/{id}`."""
        return {
            "id": self.id,
            "name": self.name,
            "owner": "" if self.owner is None else str(self.owner),
            "public": self.public,
            "file_size_limit": self.file_size_limit,
            "allowed_mime_types": self.allowed_mime_types,
            "created_at": json_time(self.created_at),
            "updated_at": json_time(self.updated_at),
        }

    def as_list_item(self) -> dict[str, object]:
        """Return the bucket as in `GET /bucket`, which includes its type."""
        return {**self.as_json(), "type": self.type}


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """A row of storage.objects."""

    id: UUID
    bucket_id: str
    name: str
    owner: UUID | None
    owner_id: str | None
    version: str
    metadata: Json
    user_metadata: Json | None
    created_at: datetime
    updated_at: datetime
    last_accessed_at: datetime

    @property
    def size_bytes(self) -> int:
        """The size of the object."""
        return int(self.metadata.get("size", 0))

    @property
    def mime_type(self) -> str:
        """The media type of the upload."""
        return self._header("mimetype", "application/octet-stream")

    @property
    def etag(self) -> str:
        """The quoted MD5 of the contents."""
        return self._header("eTag", '""')

    @property
    def cache_control(self) -> str:
        """The value of the `Cache-Control` header."""
        return self._header("cacheControl", "no-cache")

    @property
    def robots_tag(self) -> str:
        """The value of the `X-Robots-Tag` header."""
        return self._header("xRobotsTag", "none")

    @property
    def last_modified(self) -> datetime:
        """The time when the contents were written."""
        written = self.metadata.get("lastModified")
        return self.updated_at if written is None else datetime.fromisoformat(str(written))

    def _header(self, name: str, default: str) -> str:
        # Clients set these values, and a form can contain line breaks: use only valid header values.
        value = self.metadata.get(name)
        return value if isinstance(value, str) and _HEADER_VALUE.fullmatch(value) else default

    def http_last_modified(self) -> str:
        """Return the value of the `Last-Modified` header."""
        return format_datetime(self.last_modified.astimezone(UTC), usegmt=True)

    def as_info(self) -> dict[str, object]:
        """Return the object as in `GET /object/info/...`."""
        return {
            "id": str(self.id),
            "name": self.name,
            "version": self.version,
            "bucket_id": self.bucket_id,
            "size": self.size_bytes,
            "content_type": self.mime_type,
            "cache_control": self.cache_control,
            "etag": self.etag,
            "metadata": self.user_metadata,
            "last_modified": json_time(self.last_modified),
            "created_at": json_time(self.created_at),
        }

    def as_row(self) -> dict[str, object]:
        """Return the complete row, as in the responses of copies."""
        return {
            "name": self.name,
            "bucket_id": self.bucket_id,
            "owner": None if self.owner is None else str(self.owner),
            "owner_id": self.owner_id,
            "version": self.version,
            "id": str(self.id),
            "updated_at": json_time(self.updated_at),
            "created_at": json_time(self.created_at),
            "last_accessed_at": json_time(self.last_accessed_at),
            "metadata": self.metadata,
            "user_metadata": self.user_metadata,
        }

    def as_removed_row(self) -> dict[str, object]:
        """Return the complete row, as in the responses of removals: without an owner, its fields are empty."""
        return {**self.as_row(), "owner": str(self.owner or ""), "owner_id": self.owner_id or ""}

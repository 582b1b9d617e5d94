"""Rows of storage.objects as headers and JSON."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.local.storage.rows import StoredObject, json_time

NOW = datetime(2026, 11, 20, 10, 30, 46, 390999, UTC)


def _stored(**metadata: Any) -> StoredObject:
    return StoredObject(
        id=UUID(int=1),
        bucket_id="b",
        name="k",
        owner=None,
        owner_id=None,
        version="v",
        metadata=metadata,
        user_metadata=None,
        created_at=NOW,
        updated_at=NOW,
        last_accessed_at=NOW,
    )


@given(st.text() | st.none() | st.integers())
def test_object_headers_are_valid_for_any_metadata(value: object) -> None:
    """A line break in a form field must not start another header."""
    stored = _stored(mimetype=value, cacheControl=value, xRobotsTag=value, eTag=value)
    for header in (stored.mime_type, stored.cache_control, stored.robots_tag, stored.etag):
        assert header
        assert not set(header) & {"\r", "\n", "\0"}
        header.encode("latin-1")


@pytest.mark.parametrize(
    ("moment", "text"),
    [(NOW, "2026-11-20T10:30:46.390Z"), (None, None), (NOW.replace(microsecond=0), "2026-11-20T10:30:46.000Z")],
)
def test_timestamps_are_truncated_to_milliseconds(moment: datetime | None, text: str | None) -> None:
    """Truncated, not rounded, as in JavaScript."""
    assert json_time(moment) == text


def test_object_without_metadata_has_defaults() -> None:
    """The row may have been written with SQL."""
    stored = _stored()
    assert (stored.size_bytes, stored.mime_type, stored.cache_control) == (0, "application/octet-stream", "no-cache")
    assert stored.http_last_modified() == "Fri, 20 Nov 2026 10:30:46 GMT"

"""The bytes that a `Range` header selects."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.local.storage.byte_range import ByteRange, parse_range
from smelt.local.storage.errors import StorageError


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-3", 0, 3),
        ("bytes=2-", 2, 9),
        ("bytes=-3", 7, 9),
        ("bytes=-100", 0, 9),
        ("bytes=5-100", 5, 9),
        ("bytes=9-9", 9, 9),
    ],
)
def test_range_header_selects_its_bytes(header: str, first: int, last: int) -> None:
    """An open range ends with the object, and a suffix counts from its end."""
    assert parse_range(header, 10) == ByteRange(first, last, 10)


@pytest.mark.parametrize(
    "header",
    [
        "bytes=10-",
        "bytes=3-1",
        "bytes=-0",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=0-1,3-4",
        "items=0-1",
        "bytes= 0-3",
    ],
)
def test_range_header_that_is_unsatisfiable_returns_416(header: str) -> None:
    """Several ranges, malformed ranges, and ranges outside the object."""
    with pytest.raises(StorageError) as error:
        parse_range(header, 10)
    assert error.value.http_status == 416


@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 40))
def test_range_header_selects_the_same_bytes_as_slicing(first: int, last: int, size: int) -> None:
    """The length and the header match the slice."""
    content = bytes(range(size))
    expected = content[first : last + 1]
    try:
        part = parse_range(f"bytes={first}-{last}", size)
    except StorageError:
        assert expected == b""
        return
    assert content[part.first : part.last + 1] == expected
    assert part.length == len(expected)
    assert part.content_range() == f"bytes {part.first}-{part.last}/{size}"


@given(st.text(), st.integers(0, 100))
def test_range_header_of_any_text_is_parsed_or_rejected(header: str, size: int) -> None:
    """No header causes an unexpected error."""
    try:
        part = parse_range(header, size)
    except StorageError:
        return
    assert 0 <= part.first <= part.last < size

"""Multipart bodies in chunks of any size."""

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.local.storage.errors import StorageError
from smelt.local.storage.forms import Event, Field, FileData, FileStart, FormReader

CONTENT_TYPE = "multipart/form-data; boundary=XX"


def _part(disposition: str, content: bytes, content_type: str | None = None) -> bytes:
    headers = f"--XX\r\nContent-Disposition: form-data; {disposition}\r\n"
    headers += f"Content-Type: {content_type}\r\n" if content_type else ""
    return headers.encode() + b"\r\n" + content + b"\r\n"


def _read(body: bytes, cuts: list[int]) -> list[Event]:
    """Return the events of a body that is cut into chunks, with the file's bytes joined."""
    reader, events = FormReader(CONTENT_TYPE), []
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    for start, end in pairwise(edges):
        events += reader.feed(body[start:end])
    reader.end()
    data = b"".join(event.data for event in events if isinstance(event, FileData))
    return [event for event in events if not isinstance(event, FileData)] + [FileData(data)]


@given(st.binary(max_size=200), st.text("abc \n-X", max_size=30), st.lists(st.integers(0, 10_000), max_size=8))
def test_form_is_parsed_in_chunks_of_any_size(content: bytes, value: str, cuts: list[int]) -> None:
    """Fields and file are complete for any cuts."""
    if b"\r\n--XX" in b"\r\n" + content:
        return
    body = _part('name="cacheControl"', value.encode()) + _part('name=""; filename="f"', content, "audio/webm")
    expected = [Field("cacheControl", value), FileStart("audio/webm"), FileData(content)]
    assert _read(body + b"--XX--\r\n", cuts) == expected


def test_form_ignores_a_second_file() -> None:
    """The first file is used, with any name."""
    one = _part('name="a"; filename="a"', b"one", "audio/wav")
    two = _part('name="b"; filename="b"', b"two", "audio/ogg")
    assert _read(one + two + b"--XX--\r\n", []) == [FileStart("audio/wav"), FileData(b"one")]


def test_form_part_of_bytes_is_a_file_without_a_filename() -> None:
    """Its media type decides."""
    body = _part('name="a"', b"x", "application/octet-stream") + b"--XX--\r\n"
    assert _read(body, []) == [FileStart("application/octet-stream"), FileData(b"x")]


def test_form_without_a_boundary_is_rejected() -> None:
    """The message is the platform's."""
    with pytest.raises(StorageError, match="Multipart: Boundary not found"):
        FormReader("multipart/form-data")


def test_form_that_ends_early_is_rejected() -> None:
    """An incomplete form is not stored."""
    reader = FormReader(CONTENT_TYPE)
    reader.feed(_part('name=""; filename="f"', b"half", "audio/wav"))
    with pytest.raises(StorageError, match="Unexpected end of form"):
        reader.end()


@given(st.binary(max_size=300))
def test_form_of_any_bytes_is_parsed_or_rejected(body: bytes) -> None:
    """No body causes an unexpected error."""
    reader = FormReader(CONTENT_TYPE)
    with suppress(StorageError):
        reader.feed(body)
        reader.end()


def test_form_header_without_an_end_is_rejected() -> None:
    """The parser does not buffer an endless header."""
    reader = FormReader(CONTENT_TYPE)
    with pytest.raises(StorageError, match="Maximum header size exceeded"):
        reader.feed(b"--XX\r\nContent-Disposition: " + b"x" * 100_000)


def test_form_boundary_that_is_too_long_is_rejected() -> None:
    """No client sends such a long boundary."""
    with pytest.raises(StorageError, match="Multipart"):
        FormReader(f"multipart/form-data; boundary={'x' * 10_000}")

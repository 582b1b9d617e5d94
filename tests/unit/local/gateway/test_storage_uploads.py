"""The contents and metadata of raw and multipart uploads."""

import base64
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.local.keys import Keys
from smelt.local.storage.body import read_body
from smelt.local.storage.errors import StorageError
from smelt.local.storage.incoming import Upload, read_upload
from smelt.local.storage.tokens import authenticate, authenticate_or_none
from tests.unit.local.gateway.incoming_requests import request

FORM = {"content-type": "multipart/form-data; boundary=XX"}


def _form(*parts: tuple[str, str, bytes]) -> bytes:
    lines = [
        f"--XX\r\nContent-Disposition: form-data; {what}\r\n{more}\r\n".encode() + content + b"\r\n"
        for what, more, content in parts
    ]
    return b"".join(lines) + b"--XX--\r\n"


def _cut(body: bytes, cuts: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    return [body[start:end] for start, end in pairwise(edges)]


async def _bytes(upload: Upload) -> bytes:
    return b"".join([chunk async for chunk in upload.chunks])


async def test_raw_upload_is_described_by_its_headers() -> None:
    """Content type, cache control and metadata, with the platform's defaults."""
    metadata = base64.b64encode(b'{"n": 1}').decode()
    headers = {"content-type": "audio/webm", "cache-control": "3600", "x-metadata": metadata, "content-length": "2"}
    upload = await read_upload(request([b"h", b"i"], headers=headers))
    assert (upload.content_type, upload.cache_control, upload.user_metadata) == ("audio/webm", "3600", {"n": 1})
    assert (upload.declared_bytes, upload.is_form) == (2, False)
    assert await _bytes(upload) == b"hi"
    plain = await read_upload(request([b"x"]))
    assert (plain.content_type, plain.cache_control, plain.user_metadata, plain.declared_bytes) == (
        "application/octet-stream",
        "no-cache",
        {},
        None,
    )


@pytest.mark.parametrize("metadata", ["{oops", '{"a":1}', "ÿ", base64.b64encode(b"\xff").decode(), "NaN"])
async def test_raw_upload_metadata_that_is_unreadable_is_ignored(metadata: str) -> None:
    """As on the platform, the upload continues without metadata."""
    assert (await read_upload(request(headers={"x-metadata": metadata}))).user_metadata == {}


@given(st.binary(max_size=100), st.lists(st.integers(0, 10_000), max_size=8))
async def test_form_upload_takes_its_file_and_fields(content: bytes, cuts: list[int]) -> None:
    """The form arrives in chunks of any size."""
    if b"\r\n--XX" in b"\r\n" + content:
        return
    body = _form(
        ('name="cacheControl"', "", b"60"),
        ('name="userMetadata"', "", b'{"u": 1}'),
        ('name="contentType"', "", b"audio/ogg"),
        ('name="unknown"', "", b"x"),
        ('name=""; filename="f"', "Content-Type: audio/webm\r\n", content),
    )
    upload = await read_upload(request(_cut(body, cuts), headers=FORM))
    assert (upload.content_type, upload.cache_control, upload.user_metadata) == ("audio/ogg", "max-age=60", {"u": 1})
    assert await _bytes(upload) == content


async def test_form_upload_accepts_a_field_after_the_file() -> None:
    """The field is set after the file has been read."""
    body = _form(('name="f"; filename="f"', "Content-Type: audio/webm\r\n", b"ZZZ"), ('name="cacheControl"', "", b"77"))
    for pieces in ([body], _cut(body, range(0, len(body), 7))):
        upload = await read_upload(request(pieces, headers=FORM))
        assert await _bytes(upload) == b"ZZZ"
        assert upload.cache_control == "max-age=77"


async def test_form_upload_without_a_file_is_rejected() -> None:
    """The message is the platform's."""
    with pytest.raises(StorageError, match="No content provided"):
        await read_upload(request([_form(('name="cacheControl"', "", b"60"))], headers=FORM))


async def test_form_upload_with_a_truncated_file_is_rejected() -> None:
    """An incomplete file is not stored."""
    body = _form(('name="f"; filename="f"', "", b"x" * 100))[:-50]
    upload = await read_upload(request([body], headers=FORM))
    with pytest.raises(StorageError, match="Unexpected end of form"):
        await _bytes(upload)


async def test_form_upload_with_a_huge_field_returns_413() -> None:
    """Fields are kept in memory, so their size is limited."""
    body = _form(('name="metadata"', "", b"x" * 2_000_000))
    with pytest.raises(StorageError) as error:
        await read_upload(request([body], headers=FORM))
    assert error.value.http_status == 413


@pytest.mark.parametrize(
    ("content_type", "body", "message"),
    [
        ("application/json", b"", "Body cannot be empty"),
        ("application/json; charset=utf-8", b"{", "Body is not valid JSON"),
        ("application/json", b" " * 1_100_000, "Request body is too large"),
        ("bad content type", b"{}", "Invalid Content-Type header"),
    ],
)
async def test_json_body_that_is_empty_invalid_or_large_is_rejected(
    content_type: str, body: bytes, message: str
) -> None:
    """The messages are the platform's."""
    with pytest.raises(StorageError, match=message):
        await read_body(request([body], headers={"content-type": content_type}))


async def test_body_of_another_content_type_is_ignored() -> None:
    """The route then reports a missing body."""
    assert await read_body(request([b"a,b"], headers={"content-type": "text/csv"})) is None
    assert await read_body(request([b"{}"])) is None
    assert await read_body(request([b'{"a"', b": 1}"], headers={"content-type": "application/json"})) == {"a": 1}


def test_caller_is_taken_from_the_token() -> None:
    """With or without `Bearer`; the default role is anon."""
    keys = Keys()
    for prefix in ("Bearer ", "bearer ", ""):
        caller = authenticate(request(headers={"authorization": prefix + keys.sign({"sub": "u"})}), keys)
        assert (caller.role, caller.subject) == ("anon", "u")
    assert authenticate_or_none(request(headers={"authorization": "Bearer x"}), keys) is None
    with pytest.raises(StorageError, match="headers must have required property 'authorization'"):
        authenticate(request(), keys)
    with pytest.raises(StorageError, match="Invalid Compact JWS"):
        authenticate(request(), keys, required=False)


async def test_robots_tag_header_is_kept_or_rejected() -> None:
    """The metadata contains it unchanged."""
    assert (await read_upload(request(headers={"x-robots-tag": "noindex"}))).robots_tag == "noindex"
    with pytest.raises(StorageError, match="Invalid X-Robots-Tag"):
        await read_upload(request(headers={"x-robots-tag": "zzz"}))

"""Noise on the origin: nothing that is sent makes a service fail, or disturbs who is connected."""

import json
import socket
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smelt.local import StackHandle

BYTES = st.binary(max_size=40).map(lambda noise: quote(noise, safe="/"))
PATHS = st.one_of(
    BYTES,
    st.builds(
        "".join,
        st.lists(
            st.sampled_from(
                (
                    *("storage/v1/", "auth/v1/", "rest/v1/", "object/", "bucket/", "sign/", "list/", "list-v2/"),
                    *("upload/", "info/", "public/", "authenticated/", "admin/users/", "user", "token", "signup"),
                    *("noise", "a.webm", "?token=x", "?grant_type=password", "%00", "%0a", "..", "//", "%2e", "%zz"),
                )
            ),
            max_size=6,
        ),
    ),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    (
        *("prefix", "limit", "offset", "sortBy", "search", "cursor", "expiresIn", "paths", "prefixes", "name", "id"),
        *("public", "file_size_limit", "allowed_mime_types", "bucketId", "sourceKey", "destinationKey", "email"),
        *("password", "data", "refresh_token", "user_metadata", "ban_duration", "metadata", "copyMetadata"),
    )
)
BODIES = st.one_of(
    st.binary(max_size=100),
    st.dictionaries(FIELDS, VALUES, max_size=6).map(lambda body: json.dumps(body).encode()),
)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["content-type", "x-upsert", "x-metadata", "range", "if-modified-since", "cache-control", "accept"]
    ),
    st.one_of(
        st.sampled_from(["application/json", "multipart/form-data; boundary=X", "bytes=0-", "true", "audio/webm"]),
        st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20).map(str.strip),
    ),
    max_size=4,
)
QUIET = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def client(bare_stack: StackHandle) -> Any:
    """One client for all examples: its connections live through them."""
    with httpx.Client(base_url=bare_stack.api_url, headers={"apikey": bare_stack.secret_key}, timeout=20) as http:
        yield http


@QUIET
@given(st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]), PATHS, HEADERS, BODIES)
def test_any_request_gets_an_answer(
    client: httpx.Client, method: str, path: str, headers: dict[str, str], body: bytes
) -> None:
    """Of the kind that the caller can do something about, or that says what is not there; a database error at worst."""
    target, _, query = path.partition("?")
    url = client.base_url.copy_with(raw_path=f"/{target}?{query}".encode())
    answer = client.request(method, url, headers=headers, content=body)
    failed = answer.status_code >= 500 and answer.status_code != 501
    assert not failed or b"DatabaseError" in answer.content, (answer.status_code, answer.content)
    assert client.get("/health").status_code == 200


@QUIET
@given(st.binary(max_size=300))
def test_any_bytes_leave_the_others_alone(client: httpx.Client, bare_stack: StackHandle, noise: bytes) -> None:
    """What is no HTTP is answered or dropped, on its own connection."""
    parts = urlsplit(bare_stack.api_url)
    with socket.create_connection((str(parts.hostname), parts.port), timeout=5) as connection:
        connection.sendall(noise + b"\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1000)
    assert client.get("/health").status_code == 200

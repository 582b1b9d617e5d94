"""Fuzzed requests to the gateway: no service fails, and other connections are not affected."""

import json
import socket
from contextlib import ExitStack, suppress
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
    """One client for all examples, which reuses its connections."""
    with httpx.Client(base_url=bare_stack.api_url, headers={"apikey": bare_stack.secret_key}, timeout=60) as http:
        yield http


@QUIET
@given(st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]), PATHS, HEADERS, BODIES)
def test_fuzzed_request_never_returns_an_unexpected_5xx(
    client: httpx.Client, method: str, path: str, headers: dict[str, str], body: bytes
) -> None:
    """Only the 501 of an extension of resumable uploads, as recorded, and database errors are allowed."""
    target, _, query = path.partition("?")
    url = client.base_url.copy_with(raw_path=f"/{target}?{query}".encode())
    response = client.request(method, url, headers=headers, content=body)
    failed = response.status_code >= 500 and response.status_code != 501
    assert not failed or b"DatabaseError" in response.content, (response.status_code, response.content)
    assert client.get("/health").status_code == 200


@QUIET
@given(st.binary(max_size=300))
def test_fuzzed_bytes_do_not_affect_other_connections(
    client: httpx.Client, bare_stack: StackHandle, noise: bytes
) -> None:
    """Data that is not HTTP gets a response or closes only its own connection."""
    with _connected(bare_stack) as connection:
        connection.sendall(noise + b"\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1000)
    assert client.get("/health").status_code == 200


NEST = b"[" * 200_000
HUGE = {
    "target": b"GET /" + b"x" * 2_000_000,
    "header": b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: " + b"x" * 2_000_000,
    "headers": b"GET /health HTTP/1.1\r\nhost: localhost\r\n" + b"x: y\r\n" * 100_000,
    "length": b"POST /auth/v1/signup HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999999999999\r\n\r\nx",
    "chunk": b"POST /auth/v1/signup HTTP/1.1\r\nhost: [::1]\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nx",
}


@pytest.mark.parametrize("what", HUGE)
def test_huge_request_is_rejected_without_affecting_others(
    client: httpx.Client, bare_stack: StackHandle, what: str
) -> None:
    """The request is rejected, or its connection is closed."""
    # The server may close the connection in the middle of the request.
    with _connected(bare_stack) as connection, suppress(ConnectionError):
        connection.sendall(HUGE[what] + b"\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        response = connection.recv(1000)
        assert not response or response.split()[1] in (b"200", b"400", b"401", b"404", b"413", b"414", b"431")
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/auth/v1/signup", "/auth/v1/admin/users", "/rest/v1/rpc/nothing", "/storage/v1/bucket"),
        *("/storage/v1/object/list/b", "/realtime/v1/api/broadcast"),
    ],
)
@pytest.mark.parametrize(
    "body", [NEST, b'{"a":' * 100_000, b'"\xff\xfe"', b'"\\ud800"'], ids=["deep", "deeper", "bytes", "half"]
)
def test_unreadable_json_body_returns_4xx_on_every_service(client: httpx.Client, path: str, body: bytes) -> None:
    """Each service rejects deeply nested JSON and invalid UTF-8 in its own format."""
    response = client.post(path, content=body, headers={"content-type": "application/json"})
    assert 400 <= response.status_code < 500


def test_slow_requests_do_not_block_others(client: httpx.Client, bare_stack: StackHandle) -> None:
    """While a hundred requests pause in the head or body, others get responses; then the hundred complete."""
    heads = (
        b"GET /health HTTP/1.1\r\nhost: localhost\r\n",
        f"POST /storage/v1/object/b/k HTTP/1.1\r\nhost: localhost\r\napikey: {bare_stack.secret_key}\r\n"
        "content-length: 4\r\n\r\nab".encode(),
        f"POST /rest/v1/rpc/nothing HTTP/1.1\r\nhost: localhost\r\napikey: {bare_stack.secret_key}\r\n"
        "content-length: 4\r\n\r\n{}".encode(),
    )
    rests = ((b"\r\n", b"200"), (b"cd", b"400"), (b"  ", b"404"))
    with ExitStack() as connections:
        slow = [(connections.enter_context(_connected(bare_stack)), number % 3) for number in range(100)]
        for connection, kind in slow:
            connection.sendall(heads[kind])
        for path in ("/health", "/auth/v1/health", "/storage/v1/bucket", "/rest/v1/"):
            assert client.get(path).status_code == 200
        for connection, kind in slow:
            rest, status = rests[kind]
            connection.sendall(rest)
            assert connection.recv(1000).split()[1] == status


def _connected(stack: StackHandle) -> socket.socket:
    parts = urlsplit(stack.api_url)
    return socket.create_connection((str(parts.hostname), parts.port), timeout=60)

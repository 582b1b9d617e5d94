"""Requests above the gateway's limits are rejected early, and others are served meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psutil
import pytest

from smelt.contract.state import Word
from smelt.contract.work import SavedSegment
from smelt.local import LocalCluster, StackHandle
from smelt.local.gateway.uvicorn_server import MAX_HEADER_BYTES, MAX_HEADER_COUNT
from smelt.local.project import DEFAULT_MAX_BODY_BYTES
from tests.integration.local.stack_projects import write_project

SERVED = ("/rest/v1/", "/auth/v1/health", "/storage/v1/bucket", "/realtime/v1/api/ping")
PATHS = (*SERVED, "/realtime/v1/websocket", "/health", "/nothing")
UPGRADE = (
    b"connection: upgrade",
    b"upgrade: websocket",
    b"sec-websocket-version: 13",
    b"sec-websocket-key: AQIDBAUGBwgJCgsMDQ4PEA==",
)
TIMEOUT_S = 60.0


def head(stack: StackHandle, path: str, extra: Sequence[bytes] = (), method: str = "GET") -> bytes:
    """Return the head of a request with a key and `extra` headers; an upgrade on the websocket path."""
    headers = [b"host: [::1]", f"apikey: {stack.anon_key}".encode(), *(UPGRADE if path.endswith("websocket") else ())]
    return b"\r\n".join([f"{method} {path} HTTP/1.1".encode(), *headers, *extra, b"", b""])


def surplus(stack: StackHandle, path: str, count: int) -> list[bytes]:
    """Return small headers that fill a request up to `count` headers."""
    return [b"x-%d: 1" % number for number in range(count - head(stack, path).count(b"\r\n") + 2)]


@asynccontextmanager
async def connected(stack: StackHandle) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection to the gateway."""
    address = urlsplit(stack.api_url)
    async with asyncio.timeout(TIMEOUT_S):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


async def exchange(stack: StackHandle, request: bytes) -> tuple[int, bytes]:
    """Send bytes; return the status of the response, and all data until the connection is closed."""
    async with connected(stack) as (reader, writer):
        writer.write(request)
        status = int((await reader.readline()).split()[1])
        return status, await reader.read()


async def first_status(stack: StackHandle, request: bytes) -> int:
    """Send bytes, and return the status of the response."""
    async with connected(stack) as (reader, writer):
        writer.write(request)
        return int((await reader.readline()).split()[1])


@pytest.mark.parametrize("path", PATHS)
async def test_431_beyond_the_maximum_of_headers(path: str, bare_stack: StackHandle) -> None:
    request = head(bare_stack, path, surplus(bare_stack, path, MAX_HEADER_COUNT + 1))
    status, rest = await exchange(bare_stack, request)
    assert status == 431
    assert b'{"code":"headers_too_large",' in rest


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("count", [1, 100])
async def test_431_beyond_the_maximum_of_header_bytes(path: str, count: int, bare_stack: StackHandle) -> None:
    """The limit applies to one large header and to many small ones."""
    extra = [b"x-%d: " % number + b"a" * (MAX_HEADER_BYTES // count) for number in range(count)]
    status, rest = await exchange(bare_stack, head(bare_stack, path, extra))
    assert status == 431
    assert b'{"code":"headers_too_large",' in rest


@pytest.mark.parametrize(
    ("path", "status"),
    [("/rest/v1/", 200), ("/auth/v1/health", 401), ("/storage/v1/bucket", 200), ("/realtime/v1/api/ping", 200)],
)
async def test_headers_up_to_the_maximum_are_served(path: str, status: int, bare_stack: StackHandle) -> None:
    """The maximum number, and nearly the maximum size where PostgREST has no lower limit."""
    as_many = surplus(bare_stack, path, MAX_HEADER_COUNT)
    assert await first_status(bare_stack, head(bare_stack, path, as_many)) == 200
    as_long = [b"x: " + b"a" * (MAX_HEADER_BYTES - 1000)]
    if not path.startswith("/rest"):
        assert await first_status(bare_stack, head(bare_stack, path, as_long)) == 200


@pytest.mark.parametrize("extra", [[b"x: 1"] * 150, [b"x: " + b"a" * 10_000]], ids=["many headers", "a long header"])
async def test_websocket_gets_a_response_when_its_own_limits_are_lower(
    extra: list[bytes], bare_stack: StackHandle
) -> None:
    """The websocket library has lower limits."""
    status = await first_status(bare_stack, head(bare_stack, "/realtime/v1/websocket", extra))
    assert status == 431


async def test_limits_hold_for_each_request_of_a_connection(bare_stack: StackHandle) -> None:
    """Many small requests do not add up; a single large one is rejected."""
    small = head(bare_stack, "/health", [b"x: " + b"a" * (MAX_HEADER_BYTES // 3)])
    async with connected(bare_stack) as (reader, writer):
        for _ in range(5):
            writer.write(small)
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            await reader.readuntil(b'"healthy":true}')
        writer.write(head(bare_stack, "/health", surplus(bare_stack, "/health", MAX_HEADER_COUNT + 1)))
        assert (await reader.readline()).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("path", PATHS)
async def test_others_are_served_while_requests_with_100000_headers_are_rejected(
    path: str, bare_stack: StackHandle, http: httpx.AsyncClient
) -> None:
    """The supervisor neither blocks nor crashes."""
    supervisor = psutil.Process(bare_stack.state.pid)
    huge = head(bare_stack, path, [b"x-%d: 1" % number for number in range(100_000)])
    requests = [asyncio.create_task(exchange(bare_stack, huge)) for _ in range(5)]
    for served in SERVED:
        response = await http.get(served, headers={"apikey": bare_stack.anon_key})
        assert response.status_code == 200
    assert [status for status, _ in await asyncio.gather(*requests)] == [431] * 5
    assert supervisor.is_running()


async def flood(writer: asyncio.StreamWriter, part: bytes) -> None:
    """Send the same part far beyond any limit, or until the connection closes."""
    with suppress(ConnectionError):
        for _ in range(64 * MAX_HEADER_BYTES // len(part)):
            writer.write(part)
            await writer.drain()


@pytest.mark.parametrize(
    ("begin", "part"),
    [
        (b"GET /", b"a" * 50_000),
        (b"GET / HTTP/1.1\r\nx", b"a" * 50_000),
        (b"GET / HTTP/1.1\r\nx: ", b"a" * 50_000),
        (b"GET / HTTP/1.1\r\n", b"x: a\r\n" * 10_000),
    ],
    ids=["target", "name", "value", "headers"],
)
async def test_431_before_the_headers_have_ended(begin: bytes, part: bytes, bare_stack: StackHandle) -> None:
    """Endless headers are not buffered."""
    async with connected(bare_stack) as (reader, writer):
        writer.write(begin)
        await flood(writer, part)
        assert (await reader.readline()).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("part", [b"x: a\r\n" * 10_000, b"a" * 50_000], ids=["trailers", "a trailer that does not end"])
async def test_trailers_count_as_headers(part: bytes, bare_stack: StackHandle) -> None:
    """The connection is closed, even during a response."""
    begin = head(bare_stack, "/auth/v1/signup", [b"transfer-encoding: chunked"], "POST") + b"1\r\n{\r\n0\r\nx: "
    async with connected(bare_stack) as (reader, writer):
        writer.write(begin)
        await flood(writer, part)
        with suppress(ConnectionError):
            await reader.read()


@pytest.fixture
async def narrow(tmp_path: Path, local_cluster: LocalCluster) -> AsyncIterator[httpx.AsyncClient]:
    """The API of a project with a body limit of 1 KiB."""
    project = write_project(
        tmp_path / "narrow",
        "create function public.echo(value text) returns text language sql immutable as $$ select value $$;",
        config='[api]\nmax_body_size = "1KiB"',
    )
    async with local_cluster.fresh(project) as stack:
        headers = {"apikey": stack.anon_key, "content-type": "application/json"}
        async with httpx.AsyncClient(base_url=stack.api_url, headers=headers, timeout=TIMEOUT_S) as client:
            yield client


async def test_413_beyond_max_body_size(narrow: httpx.AsyncClient) -> None:
    """With a declared length or in chunks; the connection stays open."""

    async def chunks(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100):
            yield body[start : start + 100]

    for length, status in ((1024, 200), (1025, 413)):
        body = b'{"value": "%s"}' % (b"x" * (length - 13))
        for content in (body, chunks(body)):
            response = await narrow.post("/rest/v1/rpc/echo", content=content)
            assert response.status_code == status, response.text
    assert response.json()["code"] == "request_too_large"


def test_max_body_size_exceeds_twice_the_largest_report_of_a_worker() -> None:
    """All segments of six hours of fast speech in one `report_smelt_progress`, with word timings."""
    count, words_each = 6 * 3600 // 4, 12
    word = Word(word=" sechzehn", start=21_599.123456, end=21_599.987654, probability=0.9876543210)
    segment = SavedSegment(
        index=count,
        start=21_599.123456,
        end=21_599.987654,
        text=word.word * words_each,
        avg_logprob=-0.2345678901234,
        no_speech_prob=0.0123456789,
        compression_ratio=1.2345678901234,
        words=(word,) * words_each,
    )
    row = {"file_id": str(uuid4()), **segment.model_dump(mode="json")}
    assert 2 * len(json.dumps({"segments": [row] * count})) < DEFAULT_MAX_BODY_BYTES
    # A text of 50,000 characters, each an escaped surrogate pair.
    assert 2 * len(json.dumps({"text_input": "\N{FIRE}" * 50_000})) < DEFAULT_MAX_BODY_BYTES

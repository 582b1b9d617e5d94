"""Everything a caller sends is bounded, and slow callers shut out nobody."""

import asyncio
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest
import uvicorn
from starlette.responses import Response
from uvicorn.server import ServerState

from smelt.gateway import connection, limits
from smelt.gateway.callers import Caller, Callers
from smelt.gateway.connection import HttpConnection
from smelt.gateway.limits import MAX_BODY_BYTES
from tests.harness.gateways import RunningGateway, http_client, options_for, running_gateway
from tests.harness.stacks import Stack, User, sign_up
from tests.harness.waiting import until

TIMEOUT_S = 60.0
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt "


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection to a gateway."""
    address = urlsplit(url)
    async with asyncio.timeout(TIMEOUT_S):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()


def upload_head(token: str, size_bytes: int) -> bytes:
    """Return the head of a request with files, whose body has this size."""
    return (
        f"POST /api/smelts HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {size_bytes}\r\n\r\n"
    ).encode()


async def parts(size_bytes: int) -> AsyncIterator[bytes]:
    """Yield a body without announcing its size."""
    for _ in range(size_bytes // 65536 + 1):
        yield b" " * 65536


async def test_bodies_without_files_are_bounded_with_and_without_an_announced_size(owner: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    for path in ("/api/smelts", "/api/batches"):
        for body in (b" " * (MAX_BODY_BYTES + 1), parts(MAX_BODY_BYTES)):
            response = await owner.post(path, content=body, headers=headers)
            assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


async def test_multipart_bodies_are_bounded_as_others_on_routes_without_forms(visitor: httpx.AsyncClient) -> None:
    # Of these routes, FastAPI reads the whole body before it checks the caller and the media type.
    paths = (await visitor.get("/openapi.json")).json()["paths"]
    bodies = {
        path: routes["post"]["requestBody"]["content"]
        for path, routes in paths.items()
        if "post" in routes and "requestBody" in routes["post"]
    }
    forms = {path for path, content in bodies.items() if "multipart/form-data" in content}
    assert forms == limits.FORM_PATHS
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    for path in sorted(bodies.keys() - forms):
        for body in (b" " * (MAX_BODY_BYTES + 1), parts(MAX_BODY_BYTES)):
            response = await visitor.post(path.format(smelt_id=uuid4()), content=body, headers=headers)
            assert (path, response.status_code, response.json()["code"]) == (path, 413, "body_too_large")


async def test_the_media_type_of_a_form_is_case_insensitive(owner: httpx.AsyncClient) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + WAV
    body = form + b" " * MAX_BODY_BYTES + b"\r\n--b--\r\n"
    for media_type in ("Multipart/Form-Data; boundary=b", "multipart/form-data ;boundary=b"):
        response = await owner.post("/api/smelts", content=body, headers={"Content-Type": media_type})
        assert response.status_code == 201
        response = await owner.post("/v1/audio/transcriptions", content=body, headers={"Content-Type": media_type})
        assert response.json()["error"]["code"] != "unsupported_media_type"


async def test_bodies_with_files_are_bounded(shared_stack: Stack, user: User) -> None:
    with running_gateway(options_for(shared_stack, max_upload_bytes=300_000)) as gateway:
        headers = {"Authorization": f"Bearer {user.access_token}"}
        async with http_client(gateway.url, headers) as http:
            form = {"Content-Type": "multipart/form-data; boundary=b"}
            head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'

            async def unannounced() -> AsyncIterator[bytes]:
                yield head
                async for part in parts(300_000):
                    yield part

            for body in (head + b" " * 300_000, unannounced()):
                response = await http.post("/api/smelts", content=body, headers=form)
                assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
            assert (await http.post("/api/smelts", files={"file": ("a.wav", WAV * 1000)})).status_code == 201


@pytest.fixture
def full_disk() -> Iterator[BinaryIO]:
    """A file on a disk without space."""
    with Path("/dev/full").open("w+b") as file:
        yield file


async def test_a_form_without_disk_space_is_503_and_leaves_nothing(
    gateway: RunningGateway, owner: httpx.AsyncClient, full_disk: BinaryIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first one fits into memory, the second does not.
    files = [("file", (name, WAV * count)) for name, count in (("a.wav", 1), ("b.wav", 100_000))]
    with monkeypatch.context() as patched:
        patched.setattr(tempfile, "TemporaryFile", lambda **_: full_disk)
        response = await owner.post("/api/smelts", files=files)
        assert full_disk.closed
    assert (response.status_code, response.json()["code"]) == (503, "disk_full")
    assert int(response.headers["retry-after"]) > 0
    assert (await owner.get("/api/smelts")).json()["smelts"] == []
    app = gateway.server.config.app
    await until(lambda: app.state.uploads.count == 0)  # type: ignore[union-attr]
    assert (await owner.post("/api/smelts", files=files)).status_code == 201


async def test_form_fields_are_bounded(owner: httpx.AsyncClient) -> None:
    file = {"file": ("a.wav", WAV)}
    large = await owner.post("/api/smelts", files=file, data={"metadata": "x" * (limits.MAX_BODY_BYTES // 8)})
    many = await owner.post("/api/smelts", files=file, data={"prompt": ["summarize"] * 100})
    for response in (large, many):
        assert (response.status_code, response.json()["code"]) == (400, "malformed_request")


async def test_a_head_that_is_too_large_is_400_in_the_shape_of_all_errors(gateway: RunningGateway) -> None:
    async with connected(gateway.url) as (reader, writer):
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: gateway\r\nX: " + b"x" * 40_000)
        response = await reader.read()
    assert response.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b'"code":"malformed_request"' in response


async def test_a_head_that_does_not_arrive_closes_the_connection(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.3)
    request = b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n"
    for sent in (b"", request):
        async with connected(gateway.url) as (reader, writer):
            writer.write(sent)
            assert await reader.read() == b""
    async with connected(gateway.url) as (reader, writer):
        writer.write(request + b"\r\n" + request)
        response = await reader.read()  # Ends although a second request has begun.
        assert response.count(b"HTTP/1.1 200") == 1


async def test_a_caller_that_reads_nothing_loses_its_connection(
    gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "READ_TIMEOUT_S", 0.5)
    connections = gateway.server.server_state.connections
    others = set(connections)
    async with connected(gateway.url) as (_, writer):
        writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: gateway\r\n\r\n" * 1000)
        await until(lambda: connections - others)
        await until(lambda: not connections - others)


async def test_a_caller_that_reads_slowly_keeps_its_connection_until_it_reads_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, skipped_s = asyncio.get_running_loop(), 0.0
    monkeypatch.setattr(loop, "time", lambda: time.monotonic() + skipped_s)

    async def skip_timeout() -> None:
        nonlocal skipped_s
        skipped_s += connection.READ_TIMEOUT_S
        for _ in range(3):
            await asyncio.sleep(0)  # The timers that are due run, and what they schedule.

    # Larger than all buffers between the two.
    config = uvicorn.Config(Response(b" " * 32_000_000), http=HttpConnection, lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    accepted = HttpConnection(config=config, server_state=state, app_state={})
    server = await loop.create_server(lambda: accepted, "127.0.0.1", 0)
    with socket.socket() as caller:
        # Most of the response is not in the buffer of this side.
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
        caller.setblocking(False)
        await loop.sock_connect(caller, server.sockets[0].getsockname())
        await loop.sock_sendall(caller, b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n")
        await until(lambda: state.connections and accepted.flow.write_paused)
        for _ in range(10):
            read_bytes = 0
            while read_bytes < 300_000:
                received = len(await loop.sock_recv(caller, 65_536))
                assert received > 0
                read_bytes += received
            await skip_timeout()
            assert state.connections
        for _ in range(2):  # The first one may still see what was read last.
            await skip_timeout()
        assert not state.connections
    server.close()
    await server.wait_closed()


async def test_a_body_that_does_not_arrive_is_408(
    gateway: RunningGateway, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BODY_IDLE_TIMEOUT_S", 0.3)
    for media_type, begun in (("application/json", b"{"), ("multipart/form-data; boundary=b", b"--b")):
        head = upload_head(user.access_token, 1000).replace(b"multipart/form-data; boundary=b", media_type.encode())
        async with connected(gateway.url) as (reader, writer):
            writer.write(head + begun)
            assert b" 408 " in await reader.readline()


async def test_a_form_that_trickles_is_408(
    gateway: RunningGateway, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_BODY_S", 0.5)
    async with connected(gateway.url) as (reader, writer):
        writer.write(upload_head(user.access_token, 1000) + b"--b\r\n")
        responding = asyncio.create_task(reader.readline())
        while not responding.done():
            writer.write(b"X")
            await asyncio.wait([responding], timeout=0.1)
        assert b" 408 " in await responding


async def test_slow_callers_shut_out_nobody(
    shared_stack: Stack, gateway: RunningGateway, owner: httpx.AsyncClient
) -> None:
    slow = [sign_up(shared_stack) for _ in range(3)]
    async with AsyncExitStack() as open_connections:
        for number in range(150):
            _, writer = await open_connections.enter_async_context(connected(gateway.url))
            # A head without an end, or a body without an end.
            head = upload_head(slow[number % 3].access_token, 10_000_000)
            writer.write(head[:-2] if number % 2 else head + b"--b\r\n")
        app = gateway.server.config.app
        await until(lambda: app.state.uploads.count > 0)  # type: ignore[union-attr]
        started_at = time.monotonic()
        assert (await owner.get("/healthz")).status_code == 200
        assert (await owner.post("/api/smelts", json={"text": "Ship it."})).status_code == 201
        assert time.monotonic() - started_at < 10
    await until(lambda: app.state.uploads.count == 0)  # type: ignore[union-attr]


async def test_uploads_of_one_caller_leave_places_for_others(shared_stack: Stack) -> None:
    busy, other = sign_up(shared_stack), sign_up(shared_stack)
    with running_gateway(options_for(shared_stack, max_uploads=16)) as gateway:
        async with AsyncExitStack() as open_connections:
            for _ in range(2):
                _, writer = await open_connections.enter_async_context(connected(gateway.url))
                writer.write(upload_head(busy.access_token, 1000))
            app = gateway.server.config.app
            await until(lambda: app.state.uploads.count == 2)  # type: ignore[union-attr]
            async with http_client(gateway.url) as http:
                responses = {
                    user.id: await http.post(
                        "/api/smelts",
                        files={"file": ("a.wav", WAV)},
                        headers={"Authorization": f"Bearer {user.access_token}"},
                    )
                    for user in (busy, other)
                }
        assert responses[other.id].status_code == 201
        rejected = responses[busy.id]
        assert (rejected.status_code, rejected.json()["code"]) == (429, "too_many_requests")
        assert int(rejected.headers["retry-after"]) > 0


async def test_waits_for_an_end_are_limited_for_each_caller(shared_stack: Stack, user: User) -> None:
    headers = {"Authorization": f"Bearer {user.access_token}"}
    with running_gateway(options_for(shared_stack, max_streams_per_caller=1)) as gateway:
        async with http_client(gateway.url, headers) as http:
            first = asyncio.create_task(http.post("/api/smelts?wait=60", json={"text": "a"}))
            app = gateway.server.config.app
            await until(lambda: app.state.streams.count == 1)  # type: ignore[union-attr]
            second = await http.post("/api/smelts?wait=2", json={"text": "b"})
            assert (second.status_code, second.json()["code"]) == (429, "too_many_requests")
            await until(lambda: app.state.clients.count == 1)  # type: ignore[union-attr]
            [smelt] = (await http.get("/api/smelts")).json()["smelts"]
            (await http.post(f"/api/smelts/{smelt['id']}/cancel")).raise_for_status()
            assert (await first).json()["ended"]["status"] == "failed"


async def test_cors_allows_the_origins_of_the_settings_alone(shared_stack: Stack, visitor: httpx.AsyncClient) -> None:
    origin = {"Origin": "https://app.example"}
    assert "access-control-allow-origin" not in (await visitor.get("/healthz", headers=origin)).headers
    with running_gateway(options_for(shared_stack, allowed_origins=("https://app.example",))) as gateway:
        async with http_client(gateway.url) as http:
            allowed = await http.get("/api/smelts", headers=origin)
            assert allowed.status_code == 401
            assert allowed.headers["access-control-allow-origin"] == "https://app.example"
            foreign = await http.get("/api/smelts", headers={"Origin": "https://evil.example"})
            assert "access-control-allow-origin" not in foreign.headers
            preflight = await http.options(
                "/api/smelts",
                headers={
                    **origin,
                    "Access-Control-Request-Method": "POST",
                    "Access-Control-Request-Headers": "authorization,idempotency-key,content-type",
                },
            )
            assert preflight.status_code == 200


@pytest.mark.parametrize(
    ("trusted", "address"),
    [((), "127.0.0.1"), (("10.0.0.1",), "127.0.0.1"), (("127.0.0.1",), "203.0.113.7"), (("*",), "203.0.113.7")],
)
async def test_the_address_of_a_visitor_comes_from_trusted_proxies_alone(
    shared_stack: Stack, monkeypatch: pytest.MonkeyPatch, trusted: tuple[str, ...], address: str
) -> None:
    addresses = []
    make_caller = Callers.caller

    def recorded(callers: Callers, credential: str | None, address: str) -> Caller:
        addresses.append(address)
        return make_caller(callers, credential, address)

    monkeypatch.setattr(Callers, "caller", recorded)
    with running_gateway(options_for(shared_stack, trusted_proxies=trusted)) as gateway:
        async with http_client(gateway.url) as http:
            await http.get(f"/api/smelts/{uuid4()}", headers={"X-Forwarded-For": "203.0.113.7"})
    assert addresses == [address]


async def test_a_wait_ends_when_the_gateway_drains(shared_stack: Stack, user: User) -> None:
    headers = {"Authorization": f"Bearer {user.access_token}"}
    with running_gateway(options_for(shared_stack)) as gateway:
        async with http_client(gateway.url, headers) as http:
            waiting = asyncio.create_task(http.post("/api/smelts?wait=60", json={"text": "a"}))
            app = gateway.server.config.app
            await until(lambda: app.state.clients.count == 1)  # type: ignore[union-attr]
            started_at = time.monotonic()
            gateway.server.stop()
            response = await waiting
            assert (response.status_code, response.json()["ended"]) == (201, None)
            assert time.monotonic() - started_at < 5

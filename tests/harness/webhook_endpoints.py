"""HTTP endpoints for webhooks on this machine, with the faults that a stranger's endpoint may have."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import httpcore

from tests.harness.waiting import until


@dataclass(frozen=True)
class ReceivedRequest:
    """A request that has arrived completely."""

    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Endpoint:
    """An endpoint that records its requests and responds with `respond`, which may be replaced."""

    respond: "Respond"
    port: int = 0
    connection_count: int = 0
    requests: list[ReceivedRequest] = field(default_factory=list)
    sent_bytes: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?key=1"

    async def received(self, count: int = 1) -> ReceivedRequest:
        """Wait until this many requests have arrived; return the last of them."""
        await until(lambda: len(self.requests) >= count, timeout_s=60)
        return self.requests[count - 1]


Respond = Callable[[Endpoint, asyncio.StreamWriter], Awaitable[None]]


def status(code: int, **headers: str) -> Respond:
    """Return a response without a body."""

    async def respond(_: Endpoint, writer: asyncio.StreamWriter) -> None:
        lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
        writer.write(f"HTTP/1.1 {code} X\r\n{''.join(lines)}Content-Length: 0\r\n\r\n".encode())
        await writer.drain()

    return respond


def raw(content: bytes) -> Respond:
    """Return a response that is not valid HTTP, or not all of it."""

    async def respond(_: Endpoint, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()

    return respond


async def hang(_: Endpoint, __: asyncio.StreamWriter) -> None:
    """Send nothing."""
    await asyncio.Event().wait()


def dripping(head: bytes = b"") -> Respond:
    """Return a response that sends a byte at a time after `head`, and never ends."""

    async def respond(_: Endpoint, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 100_000:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.05)

    return respond


async def gigabyte(endpoint: Endpoint, writer: asyncio.StreamWriter) -> None:
    """Send a body of a gigabyte."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
    for _ in range(16 * 1024):
        writer.write(b"x" * 64 * 1024)
        await writer.drain()
        endpoint.sent_bytes += 64 * 1024


async def broken_tls(_: Endpoint, writer: asyncio.StreamWriter) -> None:
    """Send bytes that are not a TLS record over a connection with TLS."""
    os.write(writer.get_extra_info("socket").fileno(), b"\x17\x03\x03\x00\x20" + b"x" * 32)
    await asyncio.Event().wait()


async def endless_head(endpoint: Endpoint, writer: asyncio.StreamWriter) -> None:
    """Send headers without an end."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: " + b"x" * 4096 + b"\r\n")
        await writer.drain()
        endpoint.sent_bytes += 4096


@asynccontextmanager
async def running_endpoint(
    respond: Respond | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Endpoint]:
    """Run an endpoint on a free port; the default response is 200."""
    endpoint = Endpoint(respond or status(200))
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        endpoint.connection_count += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
                endpoint.requests.append(await _read_request(reader))
                await endpoint.respond(endpoint, writer)
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    endpoint.port = server.sockets[0].getsockname()[1]
    try:
        yield endpoint
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        if connections:
            await asyncio.wait(connections)


async def _read_request(reader: asyncio.StreamReader) -> ReceivedRequest:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
    headers = dict(line.lower().split(": ", 1)[0:1] + line.split(": ", 1)[1:] for line in head[1:] if line)
    body = await reader.readexactly(int(headers["content-length"]))
    return ReceivedRequest(head[0].split(" ")[1], headers, body)


class Redirecting(httpcore.AnyIOBackend):
    """Connects to this machine, whichever address it is given, and records the addresses."""

    def __init__(self) -> None:
        self.addresses: list[str] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        *args: object,
        **kwargs: object,
    ) -> httpcore.AsyncNetworkStream:
        self.addresses.append(host)
        return await super().connect_tcp("127.0.0.1", port, timeout)

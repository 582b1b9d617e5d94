"""A TCP proxy in front of a project that injects the faults of networks."""

import asyncio
import contextlib
import json
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Literal
from urllib.parse import urlsplit

from websockets.frames import OP_TEXT, Frame

Kind = Literal["realtime", "rest"]
Fault = Literal["none", "refused", "silent"]
Action = Callable[[], Coroutine[None, None, None]]

KINDS: tuple[Kind, ...] = ("realtime", "rest")
PIECE_BYTES = 1 << 16
ACCEPT_LOOP_ITERATIONS = 3
REQUEST_LINE = re.compile(rb"^(?:GET|HEAD|POST|PUT|PATCH|DELETE) ([^ ?]+)\S* HTTP/1\.1\r$", re.MULTILINE)


class FaultyProxy:
    """Relays bytes unless a fault is set; the first request of a connection decides its kind, `realtime` or `rest`.

    Realtime's bytes are relayed frame by frame, so that further frames can be injected. `requests` counts the HTTP
    requests by path.
    """

    def __init__(self, target_url: str) -> None:
        target = urlsplit(target_url)
        self._target = (target.hostname or "127.0.0.1", target.port or 80)
        self._faults: dict[Kind, Fault] = dict.fromkeys(KINDS, "none")
        self._open: dict[asyncio.StreamWriter, Kind] = {}
        self._half_open: set[asyncio.StreamWriter] = set()
        self._realtime_clients: dict[asyncio.StreamWriter, bytes] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._healed = asyncio.Event()
        self._server: asyncio.Server | None = None
        # Bound without listening: it reserves the port while the proxy is stopped.
        self._reserved_port = socket.socket()
        self._reserved_port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._reserved_port.bind(("127.0.0.1", 0))
        self._port = self._reserved_port.getsockname()[1]
        self.accepted = dict.fromkeys(KINDS, 0)
        self.requests: Counter[str] = Counter()

    @property
    def url(self) -> str:
        """The URL of the proxy, to be used instead of the target's."""
        return f"http://127.0.0.1:{self._port}"

    def cut(self, *kinds: Kind) -> None:
        """Reset the open connections."""
        for writer in [writer for writer, kind in self._open.items() if kind in (kinds or KINDS)]:
            writer.transport.abort()

    def reject(self, *kinds: Kind) -> None:
        """Reset the open connections, and each new one at its first request."""
        self._set("refused", kinds)
        self.cut(*kinds)

    def stall(self, *kinds: Kind) -> None:
        """Keep connections open and accept new ones, but relay no bytes."""
        self._set("silent", kinds)

    def make_half_open(self, *kinds: Kind) -> None:
        """Relay no more bytes of the open connections; new connections are unaffected."""
        self._half_open |= {writer for writer, kind in self._open.items() if kind in (kinds or KINDS)}

    def inject(self, frame: Frame) -> None:
        """Send a frame to all clients of Realtime, as if Realtime had sent it."""
        for writer in self._realtime_clients:
            writer.write(frame.serialize(mask=False))

    def send_message(self, topic: str, event: str, payload: object) -> None:
        """Send a message to all clients of Realtime in the version of their protocol, as if Realtime had sent it."""
        by_name = {"topic": f"realtime:{topic}", "event": event, "payload": payload, "ref": None}
        by_place = [None, None, f"realtime:{topic}", event, payload]
        for writer, first in self._realtime_clients.items():
            message = by_place if b"vsn=2.0.0" in first else by_name
            writer.write(Frame(OP_TEXT, json.dumps(message).encode()).serialize(mask=False))

    def heal(self) -> None:
        """End all faults; bytes that a stall held back are relayed late."""
        self._faults = dict.fromkeys(KINDS, "none")
        self._healed.set()

    async def start(self) -> None:
        """Start listening, always on the same port."""
        # A server that listens at once would stay open if this is cancelled before it is assigned.
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self._port, reuse_port=True, start_serving=False
        )
        await self._server.start_serving()

    async def stop(self) -> None:
        """Stop listening and reset the open connections, as if the machine were gone."""
        assert self._server is not None
        for listening in self._server.sockets:
            asyncio.get_running_loop().remove_reader(listening.fileno())
        # A server that closes loses the connections that it has just accepted, and leaves them open.
        for _ in range(ACCEPT_LOOP_ITERATIONS):
            await asyncio.sleep(0)
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    async def close(self) -> None:
        """Stop and release the port."""
        await self.stop()
        self._reserved_port.close()

    def _set(self, fault: Fault, kinds: tuple[Kind, ...]) -> None:
        self._faults |= dict.fromkeys(kinds or KINDS, fault)
        self._healed.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(PIECE_BYTES)
        kind: Kind = "realtime" if b" /realtime/v1/websocket" in first.split(b"\r\n", 1)[0] else "rest"
        self.accepted[kind] += 1
        self._count(first)
        if self._faults[kind] == "refused":
            return
        with self._opened(writer, kind):
            await self._until_not_stalled(kind)
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            with self._opened(far_writer, kind):
                far_writer.write(first)
                back = (
                    self._pass_frames(far_reader, writer, first)
                    if kind == "realtime"
                    else self._pass(far_reader, writer, kind)
                )
                relays = (self._pass_requests(reader, far_writer, kind), back)
                tasks = [asyncio.create_task(relay) for relay in relays]
                try:
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: Kind) -> None:
        while piece := await reader.read(PIECE_BYTES):
            await self._put(piece, writer, kind)

    async def _pass_requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kind: Kind) -> None:
        while piece := await reader.read(PIECE_BYTES):
            self._count(piece)
            await self._put(piece, writer, kind)

    def _count(self, piece: bytes) -> None:
        self.requests.update(match.decode() for match in REQUEST_LINE.findall(piece))

    async def _pass_frames(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await self._put(head, writer, "realtime")
        if b" 101 " not in head.split(b"\r\n", 1)[0]:
            await self._pass(reader, writer, "realtime")
            return
        self._realtime_clients[writer] = first
        while True:
            await self._put(await _frame(reader), writer, "realtime")

    async def _put(self, piece: bytes, writer: asyncio.StreamWriter, kind: Kind) -> None:
        await self._until_not_stalled(kind)
        if writer not in self._half_open:
            writer.write(piece)
            await writer.drain()

    async def _until_not_stalled(self, kind: Kind) -> None:
        while self._faults[kind] == "silent":
            self._healed.clear()
            await self._healed.wait()

    @contextlib.contextmanager
    def _opened(self, writer: asyncio.StreamWriter, kind: Kind) -> Iterator[None]:
        self._open[writer] = kind
        try:
            yield
        finally:
            del self._open[writer]
            self._half_open.discard(writer)
            self._realtime_clients.pop(writer, None)
            writer.transport.abort()


class CountingProxy(FaultyProxy):
    """Injects faults when so many bytes have passed, in both directions: `faults` are ordered by them."""

    def __init__(self, target_url: str) -> None:
        super().__init__(target_url)
        self.faults: list[tuple[int, Action]] = []
        self.injected: list[asyncio.Task[None]] = []
        self.passed_bytes = 0

    async def _put(self, piece: bytes, writer: asyncio.StreamWriter, kind: Kind) -> None:
        self.passed_bytes += len(piece)
        if self.faults and self.passed_bytes >= self.faults[0][0]:
            _, fault = self.faults.pop(0)
            # Shielded: a fault ends the relay that has reached the number of bytes.
            self.injected.append(asyncio.create_task(fault()))
            await asyncio.shield(self.injected[-1])
        await super()._put(piece, writer, kind)


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """Read one frame of a server; servers do not mask."""
    head = await reader.readexactly(2)
    more = await reader.readexactly({126: 2, 127: 8}.get(head[1], 0))
    size = int.from_bytes(more) if more else head[1]
    return head + more + await reader.readexactly(size)


@asynccontextmanager
async def counting_proxy(target_url: str) -> AsyncIterator[CountingProxy]:
    """Run a proxy in front of `target_url` that injects faults by the number of bytes."""
    proxy = CountingProxy(target_url)
    await proxy.start()
    try:
        yield proxy
    finally:
        await asyncio.gather(*proxy.injected)
        await proxy.close()


@asynccontextmanager
async def faulty_proxy(target_url: str) -> AsyncIterator[FaultyProxy]:
    """Run a proxy in front of `target_url`, without faults at first."""
    proxy = FaultyProxy(target_url)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()

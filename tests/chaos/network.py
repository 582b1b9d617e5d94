"""A proxy that adds the faults of a chaos run: a slow network, a failing Storage, broadcasts twice and out of order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final

from websockets.frames import OP_BINARY, OP_TEXT

from tests.harness.proxies import FaultyProxy, Kind

STORAGE: Final = b" /storage/v1/"
LATE_S: Final = 0.3
BROADCAST_IN_BINARY: Final = 4


class ChaosProxy(FaultyProxy):
    """A faulty proxy whose further faults also end with `heal`."""

    def __init__(self, target_url: str, chance: Random) -> None:
        super().__init__(target_url)
        self._chance = chance
        self._delay_s = 0.0
        self._is_disordered = False
        self.storage_status: int | None = None

    def slow(self, delay_s: float) -> None:
        """Delay each piece."""
        self._delay_s = delay_s

    def fail_storage(self, status: int) -> None:
        """Respond to requests of Storage with this status."""
        self.storage_status = status

    def disorder(self) -> None:
        """Deliver some broadcasts twice, and some late."""
        self._is_disordered = True

    def heal(self) -> None:
        self._delay_s = 0.0
        self._is_disordered = False
        self.storage_status = None
        super().heal()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests: Any = _Requests(self, reader, writer)
        await super()._serve(requests, writer)

    async def _put(self, piece: bytes, writer: asyncio.StreamWriter, kind: Kind) -> None:
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        if self._is_disordered and writer in self._realtime_clients and _is_broadcast(piece):
            if self._chance.random() < 0.4:
                asyncio.get_running_loop().call_later(LATE_S, self._put_late, piece, writer)
                return
            if self._chance.random() < 0.4:
                await super()._put(piece, writer, kind)
        await super()._put(piece, writer, kind)

    def _put_late(self, piece: bytes, writer: asyncio.StreamWriter) -> None:
        if writer in self._realtime_clients and writer not in self._half_open:
            writer.write(piece)


class _Requests:
    """Reads the requests of a connection, and responds to those of Storage itself while it fails."""

    def __init__(self, proxy: ChaosProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._reader = reader
        self._writer = writer

    async def read(self, count: int) -> bytes:
        """Read bytes to relay."""
        piece = await self._reader.read(count)
        status = self._proxy.storage_status
        if status is None or STORAGE not in piece.split(b"\r\n", 1)[0]:
            return piece
        body = b'{"statusCode":"%d","error":"Unavailable","message":"Storage is unavailable"}' % status
        head = b"HTTP/1.1 %d Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n" % status
        self._writer.write(b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body))
        await self._writer.drain()
        # A connection that is closed with unread bytes would be reset, and the response lost.
        while await self._reader.read(count):
            pass
        return b""


def _is_broadcast(frame: bytes) -> bool:
    payload = frame[2 + {126: 2, 127: 8}.get(frame[1], 0) :]
    match frame[0] & 0x0F:
        case opcode if opcode == OP_TEXT:
            return b'"broadcast"' in payload
        case opcode if opcode == OP_BINARY:
            return payload[:1] == bytes([BROADCAST_IN_BINARY])
    return False


@asynccontextmanager
async def chaos_proxy(target_url: str, chance: Random) -> AsyncIterator[ChaosProxy]:
    """Run a proxy in front of `target_url`, without faults at first."""
    proxy = ChaosProxy(target_url, chance)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()

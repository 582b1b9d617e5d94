"""A proxy that adds the faults of a chaos run: a slow network, a failing Storage, messages twice and out of order."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from websockets.frames import OP_BINARY, OP_TEXT

from tests.harness.proxies import FaultyProxy, Kind

STORAGE: Final = b" /storage/v1/"
LATE_S: Final = 0.3
LATE_SHARE: Final = 0.4
REPEATED_SHARE: Final = 0.4
FINAL: Final = 0x80
BROADCAST_IN_BINARY: Final = 4


class ChaosProxy(FaultyProxy):
    """A faulty proxy whose further faults also end with `heal`."""

    def __init__(self, target_url: str, chance: Random) -> None:
        super().__init__(target_url)
        self._chance = chance
        self._delay_s = 0.0
        self._is_disordered = False
        self._late_rows: Counter[str | None] = Counter()
        self.storage_status: int | None = None

    def slow(self, delay_s: float) -> None:
        """Delay each piece."""
        self._delay_s = delay_s

    def fail_storage(self, status: int) -> None:
        """Respond to requests of Storage with this status."""
        self.storage_status = status

    def disorder(self) -> None:
        """Deliver some broadcasts and changes of rows twice, and some late.

        The changes of a row without a `seq` stay in order, as Realtime sends them.
        """
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
        message = self._message(piece, writer)
        if message is None:
            await super()._put(piece, writer, kind)
        elif message.row in self._late_rows or (self._is_disordered and self._chance.random() < LATE_SHARE):
            self._late_rows.update({message.row} - {None})
            asyncio.get_running_loop().call_later(LATE_S, self._put_late, piece, writer, message.row)
        else:
            is_repeated = self._is_disordered and self._chance.random() < REPEATED_SHARE
            for _ in range(1 + is_repeated):
                await super()._put(piece, writer, kind)

    def _message(self, frame: bytes, writer: asyncio.StreamWriter) -> "_Message | None":
        """Return the message of a frame if it may be late or repeated."""
        is_affected = (self._is_disordered or self._late_rows) and writer in self._realtime_clients
        return _message_of(frame) if is_affected else None

    def _put_late(self, piece: bytes, writer: asyncio.StreamWriter, row: str | None) -> None:
        self._late_rows -= Counter({row} - {None})
        if writer in self._realtime_clients and writer not in self._half_open:
            writer.write(piece)


@dataclass(frozen=True)
class _Message:
    """A broadcast, or a change; `row` is set if the changes of a row stay in order."""

    row: str | None = None


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


def _message_of(frame: bytes) -> _Message | None:
    payload = frame[2 + {126: 2, 127: 8}.get(frame[1], 0) :]
    # Of a frame that is complete and not compressed.
    match frame[0] ^ FINAL:
        case opcode if opcode == OP_BINARY and payload[:1] == bytes([BROADCAST_IN_BINARY]):
            return _Message()
        case opcode if opcode == OP_TEXT:
            return _text_message(json.loads(payload))
    return None


def _text_message(message: object) -> _Message | None:
    match message:
        case {"event": event, "payload": content} | [_, _, _, event, content]:
            pass
        case _:
            return None
    match event, content:
        case "broadcast", _:
            return _Message()
        # A row of `smelts` has a `seq`.
        case "postgres_changes", {"data": {"table": "smelt_files", "record": {"id": str(row)}}}:
            return _Message(row)
        case "postgres_changes", _:
            return _Message()
    return None


@asynccontextmanager
async def chaos_proxy(target_url: str, chance: Random) -> AsyncIterator[ChaosProxy]:
    """Run a proxy in front of `target_url`, without faults at first."""
    proxy = ChaosProxy(target_url, chance)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()

"""Parses the logical replication protocol with the plugin `pgoutput`, protocol version 1. Bytes in, values out.

See https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html
"""

import struct
from dataclasses import dataclass
from typing import Final, Literal

Action = Literal["INSERT", "UPDATE", "DELETE"]

_POSTGRES_EPOCH_US: Final = 946_684_800_000_000
_KEY_FLAG: Final = 1


@dataclass(frozen=True, slots=True)
class Keepalive:
    """The server is alive and its WAL ends at `wal_end`."""

    wal_end: int
    reply_requested: bool


@dataclass(frozen=True, slots=True)
class WalData:
    """One message of the plugin."""

    wal_end: int
    data: bytes


@dataclass(frozen=True, slots=True)
class UnchangedValue:
    """An unchanged TOAST value, which the WAL does not contain."""


UNCHANGED: Final = UnchangedValue()
Value = str | None | UnchangedValue
"""A column's value in Postgres's text form."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a relation; `in_identity` is True if it is in the replica identity."""

    name: str
    type_oid: int
    in_identity: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """A table at this point of the WAL; with `identity_full`, old rows are complete."""

    oid: int
    schema: str
    name: str
    identity_full: bool
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Begin:
    """The begin of a committed transaction."""

    final_lsn: int
    committed_us: int
    xid: int


@dataclass(frozen=True, slots=True)
class Commit:
    """The end of the transaction; the next one starts after `end_lsn`."""

    end_lsn: int


@dataclass(frozen=True, slots=True)
class Change:
    """A changed row; in `old`, columns outside the replica identity are null."""

    action: Action
    relation_oid: int
    new: tuple[Value, ...] | None
    old: tuple[Value, ...] | None


@dataclass(frozen=True, slots=True)
class Ignored:
    """A message that does not change rows: truncations, types, origins."""

    kind: str


Message = Begin | Commit | Relation | Change | Ignored


def parse_stream(data: bytes) -> Keepalive | WalData | Ignored:
    """Parse copy data from the server."""
    match data[:1]:
        case b"w":
            return WalData(int.from_bytes(data[9:17]), data[25:])
        case b"k":
            return Keepalive(int.from_bytes(data[1:9]), reply_requested=data[17] == 1)
        case other:
            return Ignored(other.decode("latin-1"))


def feedback(lsn: int, now_us: int) -> bytes:
    """Return the status update to the server: everything up to `lsn` is applied; `now_us` counts from 1970."""
    return struct.pack(">cQQQqB", b"r", lsn, lsn, lsn, now_us - _POSTGRES_EPOCH_US, 0)


def parse_message(data: bytes) -> Message:
    """Parse one message of the plugin."""
    reader = _Reader(data)
    match kind := reader.char():
        case "B":
            return Begin(reader.uint64(), reader.uint64() + _POSTGRES_EPOCH_US, reader.uint32())
        case "C":
            reader.skip(1 + 8)
            return Commit(reader.uint64())
        case "R":
            return reader.relation()
        case "I":
            oid = reader.uint32()
            reader.skip(1)
            return Change("INSERT", oid, reader.row(), None)
        case "U":
            oid, old = reader.uint32(), None
            if reader.char() in "KO":
                old = reader.row()
                reader.skip(1)
            return Change("UPDATE", oid, reader.row(), old)
        case "D":
            oid = reader.uint32()
            reader.skip(1)
            return Change("DELETE", oid, None, reader.row())
        case _:
            return Ignored(kind)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def skip(self, count: int) -> bytes:
        start, self._at = self._at, self._at + count
        return self._data[start : self._at]

    def char(self) -> str:
        return self.skip(1).decode("latin-1")

    def uint8(self) -> int:
        return self.skip(1)[0]

    def uint16(self) -> int:
        return int.from_bytes(self.skip(2))

    def uint32(self) -> int:
        return int.from_bytes(self.skip(4))

    def uint64(self) -> int:
        return int.from_bytes(self.skip(8))

    def string(self) -> str:
        return self.skip(self._data.index(0, self._at) - self._at + 1)[:-1].decode()

    def relation(self) -> Relation:
        # The schema of `pg_catalog` is written as the empty string.
        oid, schema, name = self.uint32(), self.string() or "pg_catalog", self.string()
        identity_full = self.char() == "f"
        return Relation(oid, schema, name, identity_full, tuple(self._column() for _ in range(self.uint16())))

    def _column(self) -> Column:
        in_identity, name, type_oid = bool(self.uint8() & _KEY_FLAG), self.string(), self.uint32()
        self.skip(4)
        return Column(name, type_oid, in_identity)

    def row(self) -> tuple[Value, ...]:
        return tuple(self._value() for _ in range(self.uint16()))

    def _value(self) -> Value:
        match self.char():
            case "n":
                return None
            case "u":
                return UNCHANGED
            case _:
                return self.skip(self.uint32()).decode()

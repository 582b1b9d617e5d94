"""Parsing of messages of the replication stream."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from smelt.local.realtime.pgoutput import (
    UNCHANGED,
    Begin,
    Change,
    Column,
    Commit,
    Ignored,
    Keepalive,
    Relation,
    UnchangedValue,
    Value,
    WalData,
    feedback,
    parse_message,
    parse_stream,
)

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
oids = st.integers(0, 2**32 - 1)
positions = st.integers(0, 2**64 - 1)
values: st.SearchStrategy[Value] = st.none() | st.just(UNCHANGED) | names
rows = st.lists(values, max_size=5).map(tuple)


def write_row(row: tuple[Value, ...]) -> bytes:
    parts = [struct.pack(">H", len(row))]
    for value in row:
        match value:
            case None:
                parts.append(b"n")
            case UnchangedValue():
                parts.append(b"u")
            case text:
                parts.append(b"t" + struct.pack(">I", len(text.encode())) + text.encode())
    return b"".join(parts)


@given(oids, rows, rows, st.sampled_from("KO"))
def test_pgoutput_changes_are_parsed(oid: int, new: tuple[Value, ...], old: tuple[Value, ...], kind: str) -> None:
    head, flag = struct.pack(">I", oid), kind.encode()
    after, before = write_row(new), write_row(old)
    assert parse_message(b"I" + head + b"N" + after) == Change("INSERT", oid, new, None)
    assert parse_message(b"U" + head + b"N" + after) == Change("UPDATE", oid, new, None)
    assert parse_message(b"U" + head + flag + before + b"N" + after) == Change("UPDATE", oid, new, old)
    assert parse_message(b"D" + head + flag + before) == Change("DELETE", oid, None, old)


@given(oids, names, names, st.lists(st.tuples(names, oids, st.booleans()), max_size=5), st.booleans())
def test_pgoutput_relations_are_parsed(
    oid: int, schema: str, name: str, columns: list[tuple[str, int, bool]], full: bool
) -> None:
    data = b"R" + struct.pack(">I", oid) + schema.encode() + b"\0" + name.encode() + b"\0"
    data += (b"f" if full else b"d") + struct.pack(">H", len(columns))
    for column, type_oid, in_identity in columns:
        data += bytes((in_identity,)) + column.encode() + b"\0" + struct.pack(">Ii", type_oid, -1)
    expected = tuple(Column(*column) for column in columns)
    assert parse_message(data) == Relation(oid, schema, name, full, expected)


def test_pgoutput_empty_schema_means_pg_catalog() -> None:
    relation = parse_message(b"R" + bytes(4) + b"\0t\0d" + bytes(2))
    assert relation == Relation(0, "pg_catalog", "t", False, ())


@given(positions, positions, oids)
def test_pgoutput_begin_and_commit_are_parsed(lsn: int, end: int, xid: int) -> None:
    assert parse_message(b"B" + struct.pack(">QQI", lsn, 5, xid)) == Begin(lsn, 946_684_800_000_005, xid)
    assert parse_message(b"C\0" + struct.pack(">QQQ", lsn, end, 5)) == Commit(end)


def test_pgoutput_other_messages_are_ignored() -> None:
    assert parse_message(b"T123") == Ignored("T")
    assert parse_stream(b"x") == Ignored("x")


@given(positions, st.booleans(), st.binary())
def test_pgoutput_stream_messages_are_parsed(lsn: int, reply: bool, data: bytes) -> None:
    assert parse_stream(b"k" + struct.pack(">QqB", lsn, 0, reply)) == Keepalive(lsn, reply)
    assert parse_stream(b"w" + struct.pack(">QQq", 0, lsn, 0) + data) == WalData(lsn, data)


def test_pgoutput_feedback_confirms_one_position_with_the_time() -> None:
    kind, written, flushed, applied, clock, reply = struct.unpack(">cQQQqB", feedback(7, 946_684_800_000_001))
    assert (kind, written, flushed, applied, clock, reply) == (b"r", 7, 7, 7, 1, 0)

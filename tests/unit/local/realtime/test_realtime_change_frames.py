"""The frames of postgres_changes."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

from smelt.local.realtime.frames import LoggedChange, change_body, postgres_changes, structured_values, system
from smelt.local.realtime.pgoutput import UNCHANGED, Action, Column, Relation, Value
from smelt.local.realtime.rendering import PgType

INT, TEXT = PgType(23, "int4", "int4", "integer"), PgType(25, "text", "text", "text")
NAMES = ("id", "v", "w")
TYPES = (INT, TEXT, TEXT)
ALL = frozenset(NAMES)
Row = tuple[Value, ...]


@dataclass
class TableFacts:
    rls: bool = False
    key: tuple[str, ...] = ("id",)


def change(action: Action, new: Row | None, old: Row | None = None, *, full: bool = False) -> LoggedChange:
    columns = tuple(Column(name, kind.oid, full or name == "id") for name, kind in zip(NAMES, TYPES, strict=True))
    return LoggedChange(action, Relation(1, "public", "t", full, columns), new, old, 1_795_167_648_035_999)


def frame_data(
    what: LoggedChange,
    *,
    facts: TableFacts | None = None,
    readable: frozenset[str] = ALL,
    select: tuple[str, ...] | None = None,
    max_bytes: int = 1000,
) -> Any:
    return json.loads(change_body(what, TYPES, {}, facts or TableFacts(), readable, select, max_bytes))


def test_insert_frame_has_only_the_record() -> None:
    data = frame_data(change("INSERT", ("1", "a", None)))
    assert data == {
        "schema": "public",
        "table": "t",
        "type": "INSERT",
        "commit_timestamp": "2026-11-20T09:40:48.035Z",
        "columns": [{"name": "id", "type": "int4"}, {"name": "v", "type": "text"}, {"name": "w", "type": "text"}],
        "record": {"id": 1, "v": "a", "w": None},
        "errors": None,
    }


def test_update_frame_has_the_old_key() -> None:
    data = frame_data(change("UPDATE", ("1", "b", UNCHANGED)))
    assert data["record"] == {"id": 1, "v": "b"}
    assert data["old_record"] == {"id": 1}
    assert frame_data(change("UPDATE", ("2", "b", None), ("1", None, None)))["old_record"] == {"id": 1}


def test_update_frame_under_replica_identity_full_has_the_old_row() -> None:
    data = frame_data(
        change("UPDATE", ("1", "b", UNCHANGED), ("1", "a", "long"), full=True), facts=TableFacts(rls=True)
    )
    assert data["record"] == {"id": 1, "v": "b", "w": "long"}
    assert data["old_record"] == {"id": 1, "v": "a", "w": "long"}


@pytest.mark.parametrize(("rls", "old"), [(True, {"id": 1}), (False, {"id": 1, "v": "a", "w": "c"})])
def test_delete_frame_under_rls_has_only_the_key(rls: bool, old: dict[str, Any]) -> None:
    data = frame_data(change("DELETE", None, ("1", "a", "c"), full=True), facts=TableFacts(rls=rls))
    assert data["old_record"] == old
    assert "record" not in data


def test_delete_frame_under_rls_without_a_key_has_no_old_record() -> None:
    data = frame_data(change("DELETE", None, ("1", "a", "c"), full=True), facts=TableFacts(rls=True, key=()))
    assert data["old_record"] is None


def test_change_frame_omits_unreadable_and_unselected_columns() -> None:
    assert frame_data(change("INSERT", ("1", "a", "b")), readable=frozenset({"id", "v"}))["record"] == {
        "id": 1,
        "v": "a",
    }
    data = frame_data(change("INSERT", ("1", "a", "b")), select=("w",))
    assert data["record"] == {"id": 1, "w": "b"}
    assert [column["name"] for column in data["columns"]] == ["id", "w"]


@pytest.mark.parametrize(
    ("facts", "readable", "error"),
    [
        (TableFacts(key=()), ALL, "Error 400: Bad Request, no primary key"),
        (TableFacts(), frozenset({"v"}), "Error 401: Unauthorized"),
    ],
)
def test_change_frame_without_a_readable_key_is_an_error(
    facts: TableFacts, readable: frozenset[str], error: str
) -> None:
    data = frame_data(change("UPDATE", ("1", "a", "b"), full=True), facts=facts, readable=readable)
    assert (data["errors"], data["record"], data["old_record"], data["columns"]) == ([error], {}, {}, [])
    assert data["commit_timestamp"] is None


def test_delete_frame_needs_no_key() -> None:
    assert frame_data(change("DELETE", None, ("1", "a", "b"), full=True), facts=TableFacts(key=()))["errors"] is None


def test_change_frame_over_the_limit_keeps_only_small_values() -> None:
    data = frame_data(change("INSERT", ("1", "a" * 62, "b" * 63)), max_bytes=100)
    assert data["errors"] == ["Error 413: Payload Too Large"]
    assert data["record"] == {"id": 1, "v": "a" * 62}
    assert frame_data(change("INSERT", ("1", None, "b" * 63)), max_bytes=100)["record"] == {"id": 1}


def test_change_frame_size_is_counted_in_bytes() -> None:
    """The size limit counts bytes, not characters."""
    assert frame_data(change("INSERT", ("1", "a" * 500, None)), max_bytes=1000)["errors"] is None
    assert frame_data(change("INSERT", ("1", "ü" * 500, None)), max_bytes=1000)["errors"] is not None


def test_change_frame_embeds_values_rendered_by_postgres() -> None:
    numbers = PgType(1007, "_int4", "_int4", "integer[]", structured=True)
    types, row = (INT, TEXT, numbers), change("UPDATE", ("1", "a", "{1,2}"), ("1", "b", "{1,2}"), full=True)
    assert structured_values(row, types) == [(numbers, "{1,2}")]
    body = change_body(row, types, {(numbers, "{1,2}"): "[1, 2]"}, TableFacts(), ALL, None, 1000)
    assert json.loads(body)["record"]["w"] == [1, 2]


def test_filtered_values_of_a_delete_are_those_of_the_old_row() -> None:
    assert change("DELETE", None, ("1", None, None)).filtered_values == {"id": "1"}
    assert change("INSERT", ("1", "a", None)).filtered_values == {"id": "1", "v": "a", "w": None}
    assert change("UPDATE", ("1", "a", UNCHANGED), ("1", "a", "x"), full=True).filtered_values == {"id": "1", "v": "a"}


def test_postgres_changes_frame_names_bindings_and_channel() -> None:
    push = postgres_changes("realtime:t", "{}", [2, 1])
    assert (push.event, json.loads(push.payload)) == ("postgres_changes", {"data": {}, "ids": [2, 1]})
    assert json.loads(system("t", "1", "sentence").payload) == {
        "message": "sentence",
        "status": "error",
        "extension": "system",
        "channel": "t",
    }

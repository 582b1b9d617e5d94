"""Cursors and pages of listings."""

import base64
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.local.storage.errors import StorageError
from smelt.local.storage.paging import Cursor, Page

ROW = {"path": "c&d.txt", "created_at": datetime(2026, 11, 20, 10, 30, 46, 390123, UTC)}


def test_cursor_encodes_the_end_of_the_page() -> None:
    """Unset values are omitted."""
    assert Cursor().after(ROW).dump() == "bDpjJmQudHh0"
    assert Cursor.parse("bDpjJmQudHh0Cm86YXNj") == Cursor(last="c&d.txt", order="asc")


@given(st.text("abc/.:&", min_size=1), st.sampled_from(["asc", "desc"]), st.sampled_from(["", "name", "created_at"]))
def test_cursor_round_trips(path: str, order: str, column: str) -> None:
    """The server can parse its own cursors."""
    cursor = Cursor(order=order, column=column).after(ROW | {"path": path})
    assert Cursor.parse(cursor.dump()) == cursor


@given(st.text())
def test_cursor_of_any_text_is_parsed_or_rejected(text: str) -> None:
    """An invalid cursor reaches no statement."""
    with suppress(StorageError):
        assert Cursor.parse(text).is_valid()


@pytest.mark.parametrize("text", ["l:a\no:up", "l:a\nc:size", "l:a\nc:created_at", "l:a\nc:created_at\na:yesterday"])
def test_cursor_with_an_unknown_order_is_rejected(text: str) -> None:
    """The error is that of an invalid cursor."""
    with pytest.raises(StorageError, match="continuation token"):
        Cursor.parse(base64.b64encode(text.encode()).decode())


def test_page_limit_is_capped_at_1000() -> None:
    """A larger limit is reduced."""
    assert Page.parse({"limit": 100_000}).limit == 1000


@pytest.mark.parametrize("count", [2, 3])
def test_page_lists_folders_separately_and_a_cursor_if_more_follows(count: int) -> None:
    """Only a page with a successor has a cursor."""
    rows = [
        {"path": f"a/{name}", "is_folder": name.endswith("/"), "id": name, "metadata": {}}
        | {"updated_at": None, "created_at": None, "last_accessed_at": None}
        for name in ("b/", "c", "d")
    ]
    shown = Page.parse({"limit": 2, "with_delimiter": True, "prefix": "a/"}).show(rows[:count])
    assert shown["hasNext"] is (count == 3)
    assert ("nextCursorKey" in shown) is (count == 3)
    assert [(entry["key"], entry["name"], entry["id"]) for entry in shown["folders"]] == [("b", "a/b/", None)]
    assert [(entry["key"], entry["name"], entry["id"]) for entry in shown["objects"]] == [("c", "a/c", "c")]

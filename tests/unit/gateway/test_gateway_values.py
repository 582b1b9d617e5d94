"""Headers, cursors, places and the statuses of errors: pure functions."""

import re
from datetime import UTC, datetime
from typing import get_args
from urllib.parse import unquote
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.contract.vocabulary import RejectionCode
from smelt.errors import Forbidden, NotFound, PermanentError, RequestRejected, SmeltError, Unauthorized, Unavailable
from smelt.gateway.downloads import content_disposition, named_after
from smelt.gateway.errors import Problem, response_to
from smelt.gateway.limits import Places
from smelt.gateway.paging import cursor_after, requested_cursor
from smelt.gateway.states import SmeltTag

HEADER = re.compile(r"""attachment; filename="([^"\\\x00-\x1f\x7f]+)"; filename\*=UTF-8''([\w.~%-]+)""", re.ASCII)


@given(name=st.text(st.characters(codec="utf-8")))
def test_content_disposition_is_one_header_for_any_name(name: str) -> None:
    found = HEADER.fullmatch(content_disposition(name))
    assert found is not None
    assert unquote(found[2]) in (name.strip(), "".join(c for c in name if c.isprintable()).strip(), "download")


@pytest.mark.parametrize(
    ("filename", "named"),
    [
        ("a.wav", "a.txt"),
        ("a/b.wav", "b.txt"),
        ("a\\b.wav", "b.txt"),
        ("..", "...txt"),
        ("/", "smelt.txt"),
        ("a.tar.gz", "a.tar.txt"),
    ],
)
def test_downloads_are_named_without_folders(filename: str, named: str) -> None:
    assert named_after(filename, "txt") == named


@given(
    run=st.integers(0, 10**9 - 1),
    seq=st.integers(0, 10**18 - 1),
    segments=st.integers(0, 10**18 - 1),
    words=st.booleans(),
)
def test_etag_is_parsed_as_it_was_made(run: int, seq: int, segments: int, words: bool) -> None:
    tag = SmeltTag(run, seq, segments, words)
    assert SmeltTag.parse(tag.headers()["ETag"], with_words=words) == tag
    assert SmeltTag.parse(tag.headers()["ETag"], with_words=not words) is None


@given(header=st.text())
def test_etag_of_any_text_is_ignored(header: str) -> None:
    assert SmeltTag.parse(header, with_words=False) is None


class Row:
    def __init__(self, row_id: UUID, created_at: datetime) -> None:
        self.id = row_id
        self.created_at = created_at


@given(row_id=st.uuids(), created_at=st.datetimes(timezones=st.just(UTC)))
def test_cursor_is_parsed_as_it_was_made(row_id: UUID, created_at: datetime) -> None:
    row = Row(row_id, created_at)
    text = cursor_after([row], 1)
    assert text is not None
    cursor = requested_cursor(text)
    assert cursor is not None
    assert (cursor.id, cursor.created_at) == (row.id, row.created_at)
    assert cursor_after([row], 2) is None
    assert cursor_after([], 2) is None


@given(text=st.text())
def test_cursor_of_any_text_is_rejected(text: str) -> None:
    with pytest.raises(Problem, match="before"):
        requested_cursor(text)


def test_places_are_limited_in_total_and_for_each_caller() -> None:
    places = Places("requests", max_count=3, max_per_caller=2)
    with places.taken("a"), places.taken("a"):
        with pytest.raises(Problem, match="requests"), places.taken("a"):
            pass
        with places.taken("b"), pytest.raises(Problem), places.taken("c"):
            pass
        with pytest.raises(ValueError, match="x"), places.taken("b"):
            raise ValueError("x")
        assert places.count == 2
    assert places.count == 0


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Unauthorized("no"), 401, "unauthorized"),
        (Forbidden("no"), 403, "forbidden"),
        (NotFound("not_found", "no"), 404, "not_found"),
        (RequestRejected("PGRST202", "no"), 502, "PGRST202"),
        (RequestRejected("22P02", "no"), 400, "22P02"),
        (Unavailable("no"), 503, "unavailable"),
        (PermanentError("secret"), 500, "internal_error"),
    ],
)
def test_errors_have_a_status_and_a_code(error: SmeltError, status: int, code: str) -> None:
    response = response_to(error)
    assert response.status_code == status
    assert f'"code":"{code}"'.encode() in response.body
    assert b"secret" not in response.body
    assert ("retry-after" in response.headers) is (status == 503)


@pytest.mark.parametrize("code", get_args(RejectionCode))
def test_rejections_keep_their_code_with_a_status_of_the_client(code: str) -> None:
    response = response_to(RequestRejected(code, "no"))
    assert 400 <= response.status_code < 500
    assert f'"code":"{code}"'.encode() in response.body

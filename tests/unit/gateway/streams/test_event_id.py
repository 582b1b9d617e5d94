"""Ids of events: their form, nonsense, and ids that a smelt cannot have issued."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.gateway.streams.batches import parse_batch_event_id
from smelt.gateway.streams.event_id import EventId
from tests.harness.histories import Row, snapshot

NUMBERS = st.integers(0, 10**18 - 1)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_event_id_is_parsed_from_its_text(run: int, seq: int, segments_seq: int) -> None:
    event_id = EventId(run, seq, segments_seq)
    assert EventId.parse(str(event_id)) == event_id


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "1.2",
        "1.2.3.4",
        "-1.2.3",
        "a.b.c",
        "1.2.x",
        "1..2",
        "\u0661.\u0662.\u0663",
        f"1.2.{10**18}",
        "1.2.3\n4",
        "{}",
        "0x1.1.1",
    ],
)
def test_nonsense_is_no_event_id(text: str | None) -> None:
    assert EventId.parse(text) is None


@given(st.text())
def test_any_text_is_an_event_id_or_none(text: str) -> None:
    parsed = EventId.parse(text)
    assert parsed is None or all(number >= 0 for number in (parsed.run, parsed.seq, parsed.segments_seq))
    assert (parse_batch_event_id(text) or 0) >= 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1.7.5", True), ("2.9.9", True), ("3.9.9", False), ("2.10.9", False), ("2.9.10", False)],
)
def test_event_id_that_is_newer_than_the_smelt_is_not_of_it(text: str, expected: bool) -> None:
    event_id = EventId.parse(text)
    assert event_id is not None
    assert event_id.is_of(snapshot(Row(run=2, seq=9))) == expected


def test_event_id_of_the_end_is_that_of_the_same_run_and_seq() -> None:
    ended = snapshot(Row(run=2, seq=9, status="completed"))
    assert EventId(2, 9, 9).is_end_of(ended)
    assert not EventId(2, 8, 9).is_end_of(ended)
    assert not EventId(1, 9, 9).is_end_of(ended)
    assert not EventId(2, 9, 9).is_end_of(snapshot(Row(run=2, seq=9, status="synthesizing")))

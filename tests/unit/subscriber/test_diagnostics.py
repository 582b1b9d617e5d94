"""Diagnostics are an immutable snapshot with a readable text."""

from dataclasses import FrozenInstanceError
from uuid import UUID

import pytest

from smelt.backend.realtime import ConnectionReport
from smelt.subscriber.diagnostics import Diagnostics, WatchReport

CONNECTION = ConnectionReport(
    state="connected",
    socket_count=1,
    channel_count=2,
    joined_count=1,
    reconnect_count=3,
    failures_in_a_row=0,
    last_error="closed with 1012",
)
WATCHES = tuple(
    WatchReport(
        smelt_id=UUID(int=number),
        status=status,
        seq=None,
        joined=joined,
        freshness="live" if joined else "stale",
        last_event_age_s=age_s,
        last_read_age_s=2.4,
        rejoin_count=0,
    )
    for number, status, joined, age_s in ((1, "transcribing", True, 0.6), (2, None, False, None))
)


def test_diagnostics_text_lists_connection_reads_and_watches() -> None:
    printed = str(Diagnostics(connection=CONNECTION, watches=WATCHES, read_count=7, read_failures_in_a_row=2))
    assert printed.splitlines() == [
        "Realtime connected: 1 sockets, 1 of 2 channels joined, 3 reconnects, last error: closed with 1012",
        "Reads: 7, 2 failed in a row",
        f"  {UUID(int=1)} transcribing: joined, live, event 1 s ago, read 2 s ago",
        f"  {UUID(int=2)} unknown: not joined, stale, event never, read 2 s ago",
    ]


def test_diagnostics_are_immutable() -> None:
    with pytest.raises(FrozenInstanceError):
        CONNECTION.state = "disconnected"  # type: ignore[misc]

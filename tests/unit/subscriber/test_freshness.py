"""How often a watch reads follows from how far it can trust what it knows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.subscriber.freshness import freshness, poll_in_s


@pytest.mark.parametrize(
    ("joined", "left_s_ago", "expected"),
    [(True, None, "live"), (True, 500, "live"), (False, 3, "recent"), (False, 30, "stale"), (False, None, "stale")],
)
def test_a_joined_channel_is_live_and_one_that_was_just_left_is_recent(
    joined: bool, left_s_ago: float | None, expected: str
) -> None:
    assert freshness(joined, left_s_ago) == expected


@pytest.mark.parametrize(
    ("state", "server", "expected_s"),
    [("live", 2, 30), ("live", None, 30), ("recent", 5, 12), ("stale", 2, 5), ("stale", 20, 20), ("stale", 900, 30)],
)
def test_the_server_can_slow_reading_down_but_not_hurry_it(state: str, server: float | None, expected_s: float) -> None:
    assert poll_in_s(state, server, 0) == expected_s


@given(st.sampled_from(["live", "recent", "stale"]), st.none() | st.floats(0, 1e6), st.floats(0, 1))
def test_a_watch_reads_within_every_forty_seconds(state: str, server: float | None, jitter: float) -> None:
    wait_s = poll_in_s(state, server, jitter)
    assert 5 <= wait_s <= 40
    assert state != "live" or wait_s >= 30

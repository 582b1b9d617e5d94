"""The freshness of a watch, and the polling interval that follows from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.subscriber.freshness import freshness, poll_in_s


@pytest.mark.parametrize(
    ("joined", "left_s_ago", "expected"),
    [(True, None, "live"), (True, 500, "live"), (False, 3, "recent"), (False, 30, "stale"), (False, None, "stale")],
)
def test_freshness_is_live_while_joined_and_recent_after_leave(
    joined: bool, left_s_ago: float | None, expected: str
) -> None:
    assert freshness(joined, left_s_ago) == expected


@pytest.mark.parametrize(
    ("state", "server", "expected_s"),
    [("live", 2, 30), ("live", None, 30), ("recent", 5, 12), ("stale", 2, 5), ("stale", 20, 20), ("stale", 900, 30)],
)
def test_polling_interval_can_be_lengthened_only_by_the_server(
    state: str, server: float | None, expected_s: float
) -> None:
    assert poll_in_s(state, server, 0) == expected_s


@given(st.sampled_from(["live", "recent", "stale"]), st.none() | st.floats(0, 1e6), st.floats(0, 1))
def test_polling_interval_is_between_5_and_40_s(state: str, server: float | None, jitter: float) -> None:
    wait_s = poll_in_s(state, server, jitter)
    assert 5 <= wait_s <= 40
    assert state != "live" or wait_s >= 30

"""The freshness of a watch, and the polling interval that follows from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.subscriber.freshness import Freshness, freshness, poll_in_s


@pytest.mark.parametrize(
    ("joined", "event_age_s", "active", "expected"),
    [
        (True, 1, True, "live"),
        (True, 30, True, "live"),
        (True, 31, True, "aging"),
        (True, 500, False, "live"),
        (False, 1, True, "stale"),
        (False, 500, False, "stale"),
    ],
)
def test_freshness_is_aging_without_events_while_active_and_stale_while_not_joined(
    joined: bool, event_age_s: float, active: bool, expected: str
) -> None:
    assert freshness(joined, event_age_s, active=active) == expected


@pytest.mark.parametrize(
    ("state", "server", "expected_s"),
    [("live", 2, 30), ("live", None, 30), ("aging", 5, 10), ("aging", 20, 20), ("stale", 2, 5), ("stale", 900, 30)],
)
def test_polling_interval_can_be_lengthened_only_by_the_server(
    state: Freshness, server: float | None, expected_s: float
) -> None:
    assert poll_in_s(state, server, 0) == expected_s


@given(st.sampled_from(["live", "aging", "stale"]), st.none() | st.floats(0, 1e6), st.floats(0, 1))
def test_polling_interval_is_between_5_and_40_s(state: Freshness, server: float | None, jitter: float) -> None:
    wait_s = poll_in_s(state, server, jitter)
    assert 5 <= wait_s <= 40
    assert state != "live" or wait_s >= 30
    assert state != "aging" or server is not None or 10 <= wait_s <= 15

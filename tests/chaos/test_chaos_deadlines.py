"""The deadlines of a run: a watcher that misses an end is found, one that waits for a slow smelt is not."""

from uuid import UUID

from tests.chaos.deadlines import Slowdown, Standstill, missed_ends, scaled

ONE, OTHER = UUID(int=1), UUID(int=2)
LIMIT_S = 100.0


def test_missed_end_is_found_after_the_limit() -> None:
    watched = {ONE: 1000.0, OTHER: 1000.0}
    assert missed_ends(watched, {ONE: 101.0}, 2000.0, LIMIT_S) == {ONE: 101.0}
    assert missed_ends(watched, {ONE: 99.0}, 2000.0, LIMIT_S) == {}


def test_missed_end_is_not_one_of_a_smelt_that_takes_long_or_that_is_watched_after_its_end() -> None:
    assert missed_ends({ONE: 0.0}, {OTHER: 500.0}, 2000.0, LIMIT_S) == {}
    assert missed_ends({ONE: 1950.0}, {ONE: 500.0}, 2000.0, LIMIT_S) == {}


def test_standstill_lasts_until_a_smelt_changes_or_none_is_open() -> None:
    standstill = Standstill(0.0)
    assert standstill.lasts_s((3, 10), 1, 5.0) == 0
    assert standstill.lasts_s((3, 10), 1, 60.0) == 55
    assert standstill.lasts_s((3, 11), 1, 70.0) == 0
    assert standstill.lasts_s((3, 11), 1, 80.0) == 10
    assert standstill.lasts_s((3, 11), 0, 90.0) == 0
    assert standstill.lasts_s((4, 11), 1, 500.0) == 0


def test_limits_grow_with_the_slowdown_up_to_five_times() -> None:
    assert scaled(10, 1) == 10
    assert scaled(10, 3) == 30
    assert scaled(10, 40) == 50


def test_slowdown_is_at_least_one() -> None:
    slowdown = Slowdown()
    sum(range(1_000_000))
    assert slowdown.ratio >= 1

"""When a worker distrusts its model, and when it trusts it again."""

from uuid import UUID

import pytest

from smelt.processor.speech.breaker import CircuitBreaker

ONE, OTHER = UUID(int=1), UUID(int=2)


def open_breaker() -> CircuitBreaker:
    breaker = CircuitBreaker()
    breaker.on_death(None)
    return breaker


@pytest.mark.parametrize(
    ("deaths", "state"),
    [
        ([], "closed"),
        ([ONE], "closed"),
        ([ONE, ONE, ONE], "closed"),
        ([ONE, OTHER], "open"),
        ([ONE, ONE, OTHER], "open"),
        ([None], "open"),
        ([ONE, None], "open"),
    ],
)
def test_breaker_opens_on_deaths_of_different_smelts_or_of_none(deaths: list[UUID | None], state: str) -> None:
    breaker = CircuitBreaker()
    for smelt_id in deaths:
        breaker.on_death(smelt_id)
    assert breaker.state == state


def test_breaker_forgets_a_death_after_a_success() -> None:
    breaker = CircuitBreaker()
    breaker.on_death(ONE)
    breaker.on_success()
    breaker.on_death(OTHER)
    assert breaker.state == "closed"
    breaker.on_death(ONE)
    assert breaker.state == "open"


def test_breaker_closes_after_a_probe_that_succeeds() -> None:
    breaker = open_breaker()
    breaker.start_probe()
    assert breaker.state == "probing"
    breaker.on_success()
    assert breaker.state == "closed"
    # The deaths before do not count any more.
    breaker.on_death(ONE)
    assert breaker.state == "closed"


def test_breaker_probes_with_a_growing_delay_up_to_five_minutes() -> None:
    breaker, delays_s = open_breaker(), []
    for _ in range(10):
        delays_s.append(breaker.delay_s)
        breaker.start_probe()
        breaker.on_probe_failure()
        assert breaker.state == "open"
    assert delays_s == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    breaker.start_probe()
    breaker.on_success()
    assert breaker.delay_s == 2


def test_breaker_that_is_open_ignores_deaths_and_late_successes() -> None:
    breaker = open_breaker()
    breaker.on_death(ONE)
    breaker.on_success()
    assert breaker.state == "open"
    breaker.start_probe()
    breaker.on_death(ONE)
    assert breaker.state == "probing"

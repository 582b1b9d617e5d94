"""Waiting between attempts grows, is spread, and has a ceiling but no end."""

import asyncio

import pytest

from smelt.backend.retrying import passing_retries, pause, reconnect_wait_s, without_waiting
from smelt.errors import RequestRefused, Unavailable


@pytest.mark.parametrize("failures", [0, 1, 2, 5, 7, 50, 5000])
def test_a_reconnect_waits_up_to_a_ceiling_however_often_it_failed(failures: int) -> None:
    waits = [reconnect_wait_s(failures) for _ in range(200)]
    assert all(0 <= wait_s <= 30 for wait_s in waits)
    assert max(waits) <= 0.5 * 2 ** min(10, max(0, failures - 1))
    assert len(set(waits)) > 100


def test_backoff_grows() -> None:
    means = [sum(reconnect_wait_s(failures) for _ in range(500)) for failures in range(1, 8)]
    assert means == sorted(means)


async def test_only_what_may_pass_is_repeated_and_the_last_error_comes_through() -> None:
    attempts: list[Exception] = []

    async def fail(error: Exception) -> None:
        async for attempt in passing_retries(3):
            with attempt:
                attempts.append(error)
                raise error

    with without_waiting():
        with pytest.raises(Unavailable):
            await fail(Unavailable("down"))
        assert len(attempts) == 3
        with pytest.raises(RequestRefused):
            await fail(RequestRefused("no_input", "no"))
    assert len(attempts) == 4


async def test_nothing_waits_in_the_test_mode_and_everything_does_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with without_waiting():
        await pause(30)
    await pause(30)
    assert slept == [0, 30]

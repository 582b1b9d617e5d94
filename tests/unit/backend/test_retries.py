"""Backoff between attempts grows with jitter up to a maximum, without a limit of attempts."""

import asyncio

import pytest

from smelt.backend.retries import pause, reconnect_wait_s, transient_retries, without_waiting
from smelt.errors import RequestRejected, Unavailable


@pytest.mark.parametrize("failures", [0, 1, 2, 5, 7, 50, 5000])
def test_reconnect_backoff_is_jittered_and_capped_at_30_s(failures: int) -> None:
    waits = [reconnect_wait_s(failures) for _ in range(200)]
    assert all(0 <= wait_s <= 30 for wait_s in waits)
    assert max(waits) <= 0.5 * 2 ** min(10, max(0, failures - 1))
    assert len(set(waits)) > 100


def test_backoff_grows_with_the_failures() -> None:
    means = [sum(reconnect_wait_s(failures) for _ in range(500)) for failures in range(1, 8)]
    assert means == sorted(means)


async def test_retry_repeats_only_transient_errors_and_raises_the_last() -> None:
    attempts: list[Exception] = []

    async def fail(error: Exception) -> None:
        async for attempt in transient_retries(3):
            with attempt:
                attempts.append(error)
                raise error

    with without_waiting():
        with pytest.raises(Unavailable):
            await fail(Unavailable("down"))
        assert len(attempts) == 3
        with pytest.raises(RequestRejected):
            await fail(RequestRejected("no_input", "no"))
    assert len(attempts) == 4


async def test_backoff_is_skipped_in_test_mode_only(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with without_waiting():
        await pause(30)
    await pause(30)
    assert slept == [0, 30]

"""Periodic work in simulated time."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from smelt.errors import PermanentError, SmeltError, Unavailable
from smelt.processor.periodic import Periodic
from tests.harness.simulated_clock import simulate


def times_of(
    requests_s: Sequence[float] = (), *, until_s: float = 20.0, errors: Sequence[SmeltError] = (), **options: Any
) -> list[float]:
    """Return when the work began that is repeated every 5 s and takes 1 s; `errors` are raised one after the other."""
    began_s: list[float] = []
    pending = list(errors)

    async def run() -> None:
        start_s = time.monotonic()

        async def work() -> None:
            began_s.append(time.monotonic() - start_s)
            await asyncio.sleep(1)
            if pending:
                raise pending.pop(0)

        periodic = Periodic("the work", work, 5, **options)
        for request_s in requests_s:
            asyncio.get_running_loop().call_later(request_s, periodic.request)
        running = asyncio.create_task(periodic.run())
        await asyncio.wait([running], timeout=until_s)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    simulate(run(), 1)
    return began_s


def test_periodic_work_is_repeated_after_each_interval() -> None:
    assert times_of() == [0, 6, 12, 18]
    assert times_of(at_once=False) == [5, 11, 17]


def test_periodic_work_begins_early_on_request() -> None:
    assert times_of([3]) == [0, 3, 9, 15]
    assert times_of([2], at_once=False) == [2, 8, 14]


def test_periodic_request_during_the_work_repeats_it_once() -> None:
    assert times_of([0.25, 0.5]) == [0, 1, 7, 13, 19]


def test_periodic_requests_keep_the_pause() -> None:
    assert times_of([0.5, 1.5, 2.5], pause_s=2) == [0, 3, 9, 15]


@pytest.mark.parametrize(
    ("error", "options"), [(Unavailable("no response"), {}), (PermanentError("rejected"), {"logged": SmeltError})]
)
def test_periodic_work_is_repeated_after_a_logged_error(
    error: SmeltError, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert times_of(errors=[error], **options) == [0, 6, 12, 18]
    assert caplog.messages == [f"the work failed: {error}"]


def test_periodic_work_ends_with_any_other_error() -> None:
    with pytest.raises(PermanentError):
        times_of(errors=[PermanentError("rejected")])

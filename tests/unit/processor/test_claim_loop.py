"""An idle worker sleeps until it is woken or a smelt is due, one at capacity until it has room."""

import asyncio
from typing import Any

import pytest
from fakes import FakeProject, FakeRpc

from smelt.errors import Unavailable
from smelt.processor import claim_loop
from smelt.processor.claim_loop import ClaimLoop
from smelt.processor.options import WorkerOptions

TIMEOUT_S = 30


def claims_with(response: Any) -> ClaimLoop:
    def respond(*_: Any) -> Any:
        if isinstance(response, Exception):
            raise response
        return response

    return ClaimLoop(FakeProject(FakeRpc(respond)), WorkerOptions(worker_id="w"))  # type: ignore[arg-type]


NOTHING = {"smelts": [], "next_due_at": None, "next_due_in_s": None}


@pytest.fixture
def due_in_s(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Record the due time of each sleep, which ends at once."""
    due: list[float | None] = []

    def poll_wait_s(*, next_due_in_s: float | None, **_: object) -> float:
        due.append(next_due_in_s)
        return 0.0

    monkeypatch.setattr(claim_loop, "poll_wait_s", poll_wait_s)
    return due


async def test_claim_wait_ends_when_a_smelt_is_due(due_in_s: list[float | None]) -> None:
    claims = claims_with({**NOTHING, "next_due_in_s": 1.5})
    assert await claims.claim(1) == ()
    async with asyncio.timeout(TIMEOUT_S):
        await claims.sleep(has_room=True)
    assert due_in_s == [1.5]


async def test_claim_wait_at_capacity_ends_only_on_wake_up(due_in_s: list[float | None]) -> None:
    claims = claims_with({**NOTHING, "next_due_in_s": 0.0})
    await claims.claim(1)
    sleeping = asyncio.create_task(claims.sleep(has_room=False))
    await asyncio.sleep(0.05)
    assert not sleeping.done()
    assert due_in_s == []
    claims.wake()
    async with asyncio.timeout(TIMEOUT_S):
        await sleeping


async def test_claim_wake_up_ends_one_wait_only() -> None:
    claims = claims_with(NOTHING)
    await claims.claim(1)
    claims.wake()
    async with asyncio.timeout(TIMEOUT_S):
        await claims.sleep(has_room=False)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await claims.sleep(has_room=False)


async def test_claim_that_failed_is_retried_soon(due_in_s: list[float | None]) -> None:
    claims = claims_with(Unavailable("no"))
    with pytest.raises(Unavailable):
        await claims.claim(1)
    async with asyncio.timeout(TIMEOUT_S):
        await claims.sleep(has_room=True)
    assert due_in_s == [2.0]


async def test_claim_wait_of_a_busy_worker_ends_after_that_of_an_idle_one() -> None:
    project, awake = FakeProject(FakeRpc(lambda *_: NOTHING)), list[str]()

    async def sleep(name: str, *, is_busy: bool) -> None:
        claims = ClaimLoop(project, WorkerOptions(worker_id=name))  # type: ignore[arg-type]
        await claims.join()
        await claims.sleep(has_room=True, is_busy=is_busy)
        awake.append(name)

    async with asyncio.timeout(TIMEOUT_S), asyncio.TaskGroup() as workers:
        workers.create_task(sleep("busy", is_busy=True))
        workers.create_task(sleep("idle", is_busy=False))
        await asyncio.sleep(0)
        project.realtime.deliver("smelt")
    assert awake == ["idle", "busy"]

"""An idle worker sleeps until it is woken or a smelt is due, one at capacity until it has room."""

import asyncio
from typing import Any

import pytest

from smelt.errors import Unavailable
from smelt.processor import claim_loop
from smelt.processor.claim_loop import ClaimLoop
from smelt.processor.options import WorkerOptions
from smelt.processor.polling import CAUTION_S, Contact
from tests.unit.processor.fakes import FakeProject, FakeRpc

TIMEOUT_S = 30


def claims_with(response: Any) -> ClaimLoop:
    def respond(*_: Any) -> Any:
        if isinstance(response, Exception):
            raise response
        return response

    project: Any = FakeProject(FakeRpc(respond))
    return ClaimLoop(project, WorkerOptions(worker_id="w"), Contact())


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
    several = {**NOTHING, "worker_count": 2}
    project, awake = FakeProject(FakeRpc(lambda *_: several)), list[str]()

    async def sleep(name: str, *, is_busy: bool) -> None:
        claims = ClaimLoop(project, WorkerOptions(worker_id=name), Contact())  # type: ignore[arg-type]
        await claims.join()
        await claims.claim(1)
        await claims.sleep(has_room=True, is_busy=is_busy)
        awake.append(name)

    async with asyncio.timeout(TIMEOUT_S), asyncio.TaskGroup() as workers:
        workers.create_task(sleep("busy", is_busy=True))
        workers.create_task(sleep("idle", is_busy=False))
        await asyncio.sleep(0)
        project.realtime.deliver("smelt")
    assert awake == ["idle", "busy"]


class ClaimsOfADatabase:
    """A claim loop whose clock is set by the test, and whose database responds or not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        self.response: Any = NOTHING
        self.rpc = FakeRpc(self._respond)
        project: Any = FakeProject(self.rpc)
        self.loop = ClaimLoop(project, WorkerOptions(worker_id="w", host="h"), Contact())
        monkeypatch.setattr(claim_loop.time, "monotonic", lambda: self.now_s)

    def _respond(self, *_: Any) -> Any:
        if isinstance(self.response, Exception):
            raise self.response
        return self.response

    async def claim(self, response: Any = NOTHING) -> dict[str, Any]:
        """Claim, and return the arguments of the call."""
        self.response = response
        if isinstance(response, Exception):
            with pytest.raises(type(response)):
                await self.loop.claim(2)
        else:
            await self.loop.claim(2)
        return self.rpc.calls[-1][1]


async def test_claim_token_is_repeated_until_a_response(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = ClaimsOfADatabase(monkeypatch)
    responses = [Unavailable("lost"), Unavailable("lost"), NOTHING, NOTHING, Unavailable("lost"), NOTHING]
    tokens = [(await claims.claim(response))["claim_token"] for response in responses]
    assert tokens[0] == tokens[1] == tokens[2]
    assert tokens[4] == tokens[5]
    assert len(set(tokens)) == 3
    assert claims.rpc.calls[-1][1]["host"] == "h"


async def test_claim_leaves_expired_leases_alone_for_5_s_after_the_first_response(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    claims = ClaimsOfADatabase(monkeypatch)
    expired = [(await claims.claim())["expired_leases"]]
    for after_s in (CAUTION_S - 0.1, 0.1):
        claims.now_s += after_s
        expired.append((await claims.claim())["expired_leases"])
    assert expired == [False, False, True]
    await claims.claim(Unavailable("an outage"))
    claims.now_s += 60
    expired = [(await claims.claim())["expired_leases"]]
    claims.now_s += CAUTION_S
    expired.append((await claims.claim())["expired_leases"])
    assert expired == [False, True]


async def test_claim_expects_expired_leases_only_while_it_leaves_them_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = ClaimsOfADatabase(monkeypatch)
    soon = {**NOTHING, "next_due_in_s": CAUTION_S}
    expected = []
    for response in (NOTHING, {**NOTHING, "next_due_in_s": 20.0}, soon):
        await claims.claim(response)
        expected.append(claims.loop.expects_expired_leases)
    claims.now_s += CAUTION_S
    expected.append(claims.loop.expects_expired_leases)
    assert expected == [False, False, True, False]


SENT_AT = "2026-01-01T00:00:01+00:00"
EARLIER = "2026-01-01T00:00:00+00:00"


async def test_claim_is_repeated_soon_and_bounded_if_it_precedes_the_wake_up(due_in_s: list[float | None]) -> None:
    responses = [*[{**NOTHING, "woken_at": EARLIER}] * 5, {**NOTHING, "woken_at": SENT_AT}]
    project = FakeProject(FakeRpc(lambda *_: responses.pop(0)))
    claims = ClaimLoop(project, WorkerOptions(worker_id="w"), Contact())  # type: ignore[arg-type]
    await claims.join()
    project.realtime.deliver("smelt", {"sent_at": SENT_AT})
    async with asyncio.timeout(TIMEOUT_S):
        await claims.sleep(has_room=True)
        due_in_s.clear()
        for _ in range(4):
            await claims.claim(1)
            await claims.sleep(has_room=True)
        assert due_in_s == []
        await claims.claim(1)
        await claims.sleep(has_room=True)
        assert due_in_s == [None], "it polls"
        await claims.claim(1)
        await claims.sleep(has_room=True)
    assert due_in_s == [None, None], "another worker has claimed the smelt"


async def test_claim_is_repeated_soon_if_a_smelt_is_due_now(due_in_s: list[float | None]) -> None:
    """Only so often: the smelt may stay locked."""
    claims = claims_with({**NOTHING, "next_due_in_s": 0.0})
    async with asyncio.timeout(TIMEOUT_S):
        for _ in range(4):
            await claims.claim(1)
            assert claims.is_recheck
            await claims.sleep(has_room=True)
        assert due_in_s == []
        for _ in range(3):
            await claims.claim(1)
            assert not claims.is_recheck
            await claims.sleep(has_room=True)
    assert due_in_s == [0.0] * 3


async def test_follow_up_without_room_wakes_others_once(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = ClaimsOfADatabase(monkeypatch)
    await claims.claim({**NOTHING, "follow_up_in_s": 1.25})
    await claims.loop.wake_others()
    assert len(claims.rpc.calls) == 1, "it is not due"
    claims.now_s += 1.25
    async with asyncio.timeout(TIMEOUT_S):
        await claims.loop.sleep(has_room=False)
    for _ in range(2):
        await claims.loop.wake_others()
    assert [arguments["max_count"] for _, arguments in claims.rpc.calls] == [2, 0]


async def test_follow_up_with_room_is_a_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = ClaimsOfADatabase(monkeypatch)
    await claims.claim({**NOTHING, "follow_up_in_s": 1.25})
    claims.now_s += 1.25
    await claims.claim()
    await claims.loop.wake_others()
    assert [arguments["max_count"] for _, arguments in claims.rpc.calls] == [2, 2]


@pytest.mark.parametrize("waits_for_end", [True, False])
async def test_follow_up_of_a_worker_with_a_suspect_wakes_others_once(
    monkeypatch: pytest.MonkeyPatch, waits_for_end: bool
) -> None:
    claims = ClaimsOfADatabase(monkeypatch)
    await claims.claim({**NOTHING, "follow_up_in_s": 1.25})
    claims.now_s += 1.25
    for _ in range(2):
        await claims.claim({**NOTHING, "waits_for_end": waits_for_end})
    await claims.loop.wake_others()
    counts = [arguments["max_count"] for _, arguments in claims.rpc.calls]
    assert counts == ([2, 2, 0, 2] if waits_for_end else [2, 2, 2])


async def test_follow_up_without_room_is_repeated_when_a_delay_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = ClaimsOfADatabase(monkeypatch)
    await claims.claim({**NOTHING, "follow_up_in_s": 1.25})
    claims.response = {**NOTHING, "follow_up_in_s": 4.0}
    called = []
    for after_s in (1.25, 3.9, 0.1):
        claims.now_s += after_s
        await claims.loop.wake_others()
        called.append(len(claims.rpc.calls) - 1)
    assert called == [1, 1, 2]


async def test_follow_up_that_failed_is_repeated_later(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = ClaimsOfADatabase(monkeypatch)
    await claims.claim({**NOTHING, "follow_up_in_s": 1.25})
    claims.now_s += 1.25
    await claims.claim(Unavailable("no"))
    claims.loop.retry_follow_up()
    await claims.loop.wake_others()
    assert len(claims.rpc.calls) == 2
    claims.now_s += 2
    await claims.loop.wake_others()
    assert len(claims.rpc.calls) == 3


@pytest.mark.parametrize(("waits_for_end", "wakes"), [(False, False), (True, True)])
async def test_end_of_a_smelt_ends_the_wait_only_if_the_last_claim_left_no_room(
    monkeypatch: pytest.MonkeyPatch, waits_for_end: bool, wakes: bool
) -> None:
    claims = ClaimsOfADatabase(monkeypatch)
    claims.loop.wake_at_end(always=False)
    async with asyncio.timeout(TIMEOUT_S):
        await claims.loop.sleep(has_room=False)
    await claims.claim({**NOTHING, "waits_for_end": waits_for_end})
    claims.loop.wake_at_end(always=False)
    assert claims.loop._woken.is_set() == wakes
    claims.loop.wake_at_end(always=True)
    assert claims.loop._woken.is_set()


async def test_wake_up_of_others_that_failed_is_repeated_later(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = ClaimsOfADatabase(monkeypatch)
    await claims.claim({**NOTHING, "follow_up_in_s": 1.25})
    claims.now_s += 1.25
    claims.response = Unavailable("no")
    await claims.loop.wake_others()
    claims.response = NOTHING
    await claims.loop.wake_others()
    assert len(claims.rpc.calls) == 2
    claims.now_s += 2
    await claims.loop.wake_others()
    await claims.loop.wake_others()
    assert len(claims.rpc.calls) == 3

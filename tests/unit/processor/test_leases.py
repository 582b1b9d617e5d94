"""Leases are renewed in time, even if a connection is half-open."""

import asyncio
from typing import Any

import pytest

from smelt.backend.worker_rpc import WorkerRpc
from smelt.errors import Unavailable
from smelt.processor import leases
from smelt.processor.leases import Leases
from smelt.processor.polling import CAUTION_S, Contact
from tests.unit.processor.fakes import FakeRpc, claim

TIMEOUT_S = 30


class HalfOpenConnection(FakeRpc):
    """The first call gets no response."""

    async def call(self, function: str, /, **arguments: Any) -> object:
        response = await super().call(function, **arguments)
        if len(self.calls) == 1:
            await asyncio.Event().wait()
        return response


async def test_lease_renewal_without_a_reply_does_not_block_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_MIN_RENEWAL_TIMEOUT_S", 0.05)
    held = claim()
    verdict = {"smelt_id": str(held.id), "attempt": held.attempt, "verdict": "cancelled"}
    notified = asyncio.Event()
    calls = WorkerRpc(HalfOpenConnection(lambda *_: {"leases": [verdict]}))  # type: ignore[arg-type]
    renewing = Leases(calls, "w", 1, Contact())
    renewing.add(held, lambda _verdict: notified.set())
    task = asyncio.create_task(renewing.run_renewals())
    async with asyncio.timeout(TIMEOUT_S):
        await notified.wait()
    task.cancel()
    await asyncio.wait([task])


async def test_lease_renewal_notes_if_the_project_responds(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, responses, contact = 0.0, list[Any](), Contact()

    def respond(*_: Any) -> Any:
        response = responses.pop(0)
        if isinstance(response, Exception):
            raise response
        return response

    async def renew(response: Any) -> None:
        responses.append(response)
        await renewing.renew()

    monkeypatch.setattr(leases.time, "monotonic", lambda: now_s)
    renewing = Leases(WorkerRpc(FakeRpc(respond)), "w", 30, contact)  # type: ignore[arg-type]
    renewing.add(claim(), lambda _: None)
    assert not contact.is_steady(CAUTION_S)
    await renew({"leases": []})
    now_s = CAUTION_S
    await renew({"leases": []})
    assert contact.is_steady(now_s)
    with pytest.raises(Unavailable):
        await renew(Unavailable("no"))
    assert not contact.is_steady(now_s + 100)
    now_s += 200
    await renew({"leases": []})
    assert [contact.is_steady(now_s + after_s) for after_s in (CAUTION_S - 0.1, CAUTION_S)] == [False, True]


async def test_lease_that_a_report_renewed_is_not_due(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr(leases.time, "monotonic", lambda: now_s)
    rpc = FakeRpc(lambda *_: {"leases": []})
    renewing = Leases(WorkerRpc(rpc), "w", 30, Contact())  # type: ignore[arg-type]
    reporting, silent = claim(), claim()
    for held in (reporting, silent):
        renewing.add(held, lambda _: None)
    now_s = 1.9
    renewing.confirm(reporting, now_s)
    await renewing.renew_due()
    assert rpc.calls == []
    now_s = 2.0
    await renewing.renew_due()
    [(_, arguments)] = rpc.calls
    assert [row["smelt_id"] for row in arguments["leases"]] == [silent.id]
    now_s = 3.9
    await renewing.renew_due()
    assert len(rpc.calls) == 2
    assert len(rpc.calls[1][1]["leases"]) == 2, "those that are due soon are renewed with the others"

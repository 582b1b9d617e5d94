"""Leases are renewed in time, whatever becomes of a connection."""

import asyncio
from typing import Any

import pytest
from fakes import FakeRpc, claim

from smelt.backend.worker_rpc import WorkerRpc
from smelt.processor import leases
from smelt.processor.leases import Leases

DEADLINE_S = 30


class HalfOpenConnection(FakeRpc):
    """Nobody answers the first call."""

    async def call(self, function: str, /, **arguments: Any) -> object:
        answer = await super().call(function, **arguments)
        if len(self.calls) == 1:
            await asyncio.Event().wait()
        return answer


async def test_lease_renewal_without_a_reply_does_not_block_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_MIN_RENEWAL_TIMEOUT_S", 0.05)
    held = claim()
    verdict = {"smelt_id": str(held.id), "attempt": held.attempt, "verdict": "cancelled"}
    heard = asyncio.Event()
    renewing = Leases(WorkerRpc(HalfOpenConnection(lambda *_: {"leases": [verdict]})), "w", 1)  # type: ignore[arg-type]
    renewing.hold(held, lambda _verdict: heard.set())
    task = asyncio.create_task(renewing.run_renewals())
    async with asyncio.timeout(DEADLINE_S):
        await heard.wait()
    task.cancel()
    await asyncio.wait([task])

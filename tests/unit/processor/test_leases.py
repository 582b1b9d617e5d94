"""Leases are renewed in time, even if a connection is half-open."""

import asyncio
from typing import Any

import pytest
from fakes import FakeRpc, claim

from smelt.backend.worker_rpc import WorkerRpc
from smelt.processor import leases
from smelt.processor.leases import Leases

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
    renewing = Leases(WorkerRpc(HalfOpenConnection(lambda *_: {"leases": [verdict]})), "w", 1)  # type: ignore[arg-type]
    renewing.add(held, lambda _verdict: notified.set())
    task = asyncio.create_task(renewing.run_renewals())
    async with asyncio.timeout(TIMEOUT_S):
        await notified.wait()
    task.cancel()
    await asyncio.wait([task])

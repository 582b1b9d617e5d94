"""Gives claimed smelts options that the database would not give to their worker."""

from typing import Any
from uuid import UUID

import pytest

from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.work import ClaimBatch


def give_options(monkeypatch: pytest.MonkeyPatch, options: dict[UUID, dict[str, Any]]) -> None:
    """Replace the options in the claims of these smelts; the dictionary may be filled later."""
    claim_smelts = WorkerRpc.claim_smelts

    async def with_options(self: WorkerRpc, *arguments: Any, **more: Any) -> ClaimBatch:
        batch = await claim_smelts(self, *arguments, **more)
        smelts = (claim.model_copy(update={"options": options.get(claim.id, claim.options)}) for claim in batch.smelts)
        return batch.model_copy(update={"smelts": tuple(smelts)})

    monkeypatch.setattr(WorkerRpc, "claim_smelts", with_options)

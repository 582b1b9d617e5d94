"""Gives claimed smelts options, as a project returns them that stores what their creators have requested."""

from typing import Any
from uuid import UUID

import pytest

from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.work import ClaimBatch


def give_options(monkeypatch: pytest.MonkeyPatch, options: dict[UUID, dict[str, Any]]) -> None:
    """Add options to the claims of these smelts; `prompts` replaces their default prompts.

    The dictionary may be filled later.
    """
    claim_smelts = WorkerRpc.claim_smelts

    async def with_options(self: WorkerRpc, *arguments: Any, **more: Any) -> ClaimBatch:
        batch = await claim_smelts(self, *arguments, **more)
        smelts = []
        for claim in batch.smelts:
            requested = dict(options.get(claim.id, {}))
            prompts = requested.pop("prompts", claim.default_prompt_names)
            smelts.append(claim.model_copy(update={"options": requested, "default_prompt_names": tuple(prompts)}))
        return batch.model_copy(update={"smelts": tuple(smelts)})

    monkeypatch.setattr(WorkerRpc, "claim_smelts", with_options)

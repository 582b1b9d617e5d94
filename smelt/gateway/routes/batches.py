"""Batches: smelts of one user that are watched together."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import Field

from smelt.contract.batches import Batch
from smelt.contract.events import Model
from smelt.gateway.callers import SignedInCaller
from smelt.gateway.errors import documented

router = APIRouter(prefix="/api/batches", tags=["batches"])


class NewBatch(Model):
    """A batch to create."""

    title: Annotated[str | None, Field(max_length=200)] = None


class BatchState(Batch):
    """A batch, and where to follow it."""

    events_url: str


@router.post("", status_code=201, responses=documented(408, 413))
async def create_batch(response: Response, caller: SignedInCaller, new: NewBatch) -> BatchState:
    """Create a batch; a smelt joins it by `batch_id` when it is created."""
    batch = await caller.calls.create_batch(new.title)
    response.headers["Location"] = f"/api/batches/{batch.id}"
    return _state_of(batch)


@router.get("/{batch_id}", responses=documented(404))
async def get_batch(caller: SignedInCaller, batch_id: UUID) -> BatchState:
    """Return a batch with its counts and its progress."""
    return _state_of(await caller.calls.get_batch(batch_id))


def _state_of(batch: Batch) -> BatchState:
    return BatchState(**dict(batch), events_url=f"/api/batches/{batch.id}/events")

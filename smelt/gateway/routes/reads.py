"""Reads of many smelts in one request, for clients that watch several."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field

from smelt.backend.client_rpc import SeenState, States
from smelt.contract.events import Model
from smelt.gateway.callers import CurrentCaller
from smelt.gateway.errors import documented

router = APIRouter(prefix="/api/smelts", tags=["smelts"])

_Seq = Annotated[int | None, Field(ge=0, lt=2**63)]


class Seen(Model):
    """A smelt, and what the caller has of it: the state up to `after_seq`, segments up to `segments_after`."""

    id: UUID
    after_seq: _Seq = None
    segments_after: _Seq = None


class SeenSmelts(Model):
    """The smelts to read."""

    smelts: Annotated[tuple[Seen, ...], Field(max_length=200)]


@router.post("/states", responses=documented(408, 413))
async def read_states(caller: CurrentCaller, seen: SeenSmelts) -> States:
    """Return what is new of each smelt; those of other users are `missing`."""
    known = [SeenState(one.id, one.after_seq, one.segments_after) for one in seen.smelts]
    return await caller.calls.get_smelts(known)

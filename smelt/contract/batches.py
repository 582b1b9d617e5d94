"""Batches: smelts of one user that are watched together."""

from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from smelt.contract.events import Model

BatchStatus = Literal["pending", "processing", "completed", "failed"]

TERMINAL_BATCH_STATUSES: Final[frozenset[BatchStatus]] = frozenset({"completed", "failed"})
"""Every smelt of the batch is terminal; `failed` if none of them completed."""


class Batch(Model):
    """A row of `smelt_batches`; `progress` is 0 to 100 over all smelts, `seq` counts the changes of the batch."""

    id: UUID
    title: str | None
    seq: int
    total: int
    completed: int
    failed: int
    progress: float
    status: BatchStatus
    created_at: datetime


class BatchEvent(Model):
    """The event `progress` on the channel of a batch, with its whole state."""

    batch_id: UUID
    total: int
    completed: int
    failed: int
    progress: float
    status: BatchStatus
    eta_seconds: float | None = None
    seq: int

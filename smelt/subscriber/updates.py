"""What a watcher is told."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from smelt.contract.batches import BatchStatus
from smelt.contract.events import FileProgress, Model, Result, Segment
from smelt.contract.vocabulary import Outcome, Status
from smelt.errors import SmeltError


class Progress(Model):
    """The whole state of a smelt that is under way; `percentage` never goes back within a `run`.

    `queue_position` is known while the smelt waits for a worker, `eta_seconds` once a worker can tell. `worker_online`
    is false while no worker of the project is running, so that nothing happens until one starts; None if unknown.
    """

    smelt_id: UUID
    status: Status
    percentage: float
    message: str
    files: tuple[FileProgress, ...]
    eta_seconds: float | None
    queue_position: int | None
    worker_online: bool | None = None
    seq: int
    run: int
    attempt: int


class Segments(Model):
    """New transcript of one file: each segment once in a `run`, in order of `index` and without gaps."""

    smelt_id: UUID
    file_id: UUID
    segments: tuple[Segment, ...]
    run: int


class Completed(Model):
    """The end of a smelt that went well, with all of its results; `partial` when a file of several failed."""

    smelt_id: UUID
    outcome: Outcome
    results: tuple[Result, ...]
    completed_at: datetime
    seq: int
    run: int
    status: Literal["completed"] = "completed"


class Failed(Model):
    """The end of a smelt that did not go well: a code for programs, a sentence for people."""

    smelt_id: UUID
    error_code: str
    error_message: str
    completed_at: datetime
    seq: int
    run: int
    status: Literal["failed"] = "failed"


class BatchProgress(Model):
    """How far the smelts of a batch are together; `progress` 0 to 100, `eta_seconds` where all of them are known."""

    batch_id: UUID
    total: int
    completed: int
    failed: int
    progress: float
    status: BatchStatus
    eta_seconds: float | None = None
    seq: int


Ending = Completed | Failed
Update = Progress | Segments | Completed | Failed


@dataclass(frozen=True, slots=True)
class Connected:
    """The live channel is joined."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The live channel is gone for now; it is being joined again."""


@dataclass(frozen=True, slots=True)
class ConnectionIssue:
    """Something did not work and is being tried again, or worked around: the `live` channel, or reading the state."""

    error: SmeltError
    live: bool = False


ConnectionEvent = Connected | Disconnected | ConnectionIssue

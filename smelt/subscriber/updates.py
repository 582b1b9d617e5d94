"""The updates that a watch yields."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from smelt.contract.batches import BatchStatus
from smelt.contract.events import FileProgress, Model, Output, Result, Segment
from smelt.contract.vocabulary import Outcome, Status
from smelt.errors import SmeltError


class Progress(Model):
    """The whole state of a smelt that has not ended.

    `percentage` is 0 to 100 and never decreases within a `run`. `queue_position` is known while the smelt waits for a
    worker (1001: more than 1,000), `eta_seconds` once a worker can estimate it. `worker_online` is False while no
    worker runs that has the model of the smelt, or any if it names none; None if unknown. `outputs` are those that are
    complete, and the one that is being written with its text so far.
    """

    smelt_id: UUID
    status: Status
    percentage: float
    message: str
    files: tuple[FileProgress, ...]
    eta_seconds: float | None
    queue_position: int | None
    worker_online: bool | None = None
    outputs: tuple[Output, ...] = ()
    seq: int
    run: int
    attempt: int


class Segments(Model):
    """New segments of one file: each once in a `run`, in order of `index` and without gaps."""

    smelt_id: UUID
    file_id: UUID
    segments: tuple[Segment, ...]
    run: int


class Completed(Model):
    """The end of a completed smelt with all of its results; `outcome` is `partial` if some of its files failed."""

    smelt_id: UUID
    outcome: Outcome
    results: tuple[Result, ...]
    completed_at: datetime
    seq: int
    run: int
    status: Literal["completed"] = "completed"


class Failed(Model):
    """The end of a failed smelt: `error_code` for programs, `error_message` for people."""

    smelt_id: UUID
    error_code: str
    error_message: str
    completed_at: datetime
    seq: int
    run: int
    status: Literal["failed"] = "failed"


class BatchProgress(Model):
    """The state of a batch; `progress` is 0 to 100, `eta_seconds` is known if that of every smelt is."""

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
    """The live channel was left and is being joined again."""


@dataclass(frozen=True, slots=True)
class ConnectionIssue:
    """An error of a read, or of the `live` connection, that is retried or compensated by polling."""

    error: SmeltError
    live: bool = False


ConnectionEvent = Connected | Disconnected | ConnectionIssue

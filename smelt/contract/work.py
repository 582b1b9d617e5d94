"""The responses of the SQL functions for workers."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from smelt.contract.events import Model, ProgressEvent, Segment
from smelt.contract.state import Word
from smelt.contract.vocabulary import FileStatus, InputType, Mode, Outcome, Status

Verdict = Literal["go_on", "cancelled", "lost"]
"""What a worker must do with a smelt: go on, stop because it was cancelled, or stop because its lease was lost."""

Risk = Literal["decode", "model", "external"]
"""Work on a file that may stop its worker: decoding it, also to probe it, and transcribing it with the model.

`external` is that of a service to which the smelt is dispatched, from its first callback on.
"""


class ClaimedFile(Model):
    """A file of a claimed smelt, with the state that earlier attempts saved.

    `checkpoint` has a format of the worker, and is saved together with its segments. `transcribed` is True if the
    transcript is complete.
    """

    id: UUID
    position: int
    filename: str
    input_type: InputType
    size_bytes: int
    object_path: str | None
    object_version: str | None
    status: FileStatus
    stage: Status
    progress: float
    duration_seconds: float | None
    language: str | None
    transcribed: bool
    segment_count: int
    checkpoint: dict[str, Any] | None


class UserPrompt(Model):
    """A prompt that a user wrote."""

    id: UUID
    name: str
    content: str


class Claim(Model):
    """A smelt that this worker holds until `lease_expires_at`; every later call carries `(id, attempt)`.

    A `suspect` is claimed alone: the lease of an earlier attempt expired with this risk. `options` are those of the
    creation, not yet parsed: a newer schema may have options that this worker does not know.
    """

    id: UUID
    user_id: UUID | None
    batch_id: UUID | None
    run: int
    attempt: int
    seq: int
    status: Status
    percentage: float
    mode: Mode
    options: dict[str, Any] = Field(default_factory=dict)
    text_input: str | None
    default_prompt_names: tuple[str, ...]
    user_prompt: UserPrompt | None
    failure_count: int
    suspect: Risk | None = None
    lease_expires_at: datetime
    max_file_bytes: int
    max_duration_s: float
    files: tuple[ClaimedFile, ...]


class ClaimBatch(Model):
    """The response of `claim_smelts`.

    `next_due_in_s` is when to claim again at the latest, None if nothing is due; with `waits_for_end`, also when a
    smelt of this worker ends. `woken_at` is the last wake-up whose smelts this claim could see. With `follow_up_in_s`,
    this worker claims again then, or wakes the others if it can't claim: for smelts whose wake-up was skipped, or whose
    delay ends. `worker_count` counts live workers.
    """

    smelts: tuple[Claim, ...]
    next_due_at: datetime | None
    next_due_in_s: float | None
    waits_for_end: bool = False
    woken_at: datetime | None = None
    follow_up_in_s: float | None = None
    worker_count: int = 1


class SavedSegment(Segment):
    """A segment as it is stored, with the model's statistics."""

    avg_logprob: float | None = None
    no_speech_prob: float | None = None
    compression_ratio: float | None = None
    words: tuple[Word, ...] | None = None


class Report(Model):
    """The response of `report_smelt_progress`; `event` is to be broadcast, None if no visible state changed."""

    verdict: Verdict
    event: ProgressEvent | None


class LeaseRenewal(Model):
    """The response of `renew_smelt_leases` for one smelt."""

    smelt_id: UUID
    attempt: int
    verdict: Verdict


class DispatchVerdict(Model):
    """The response of `dispatch_smelt`."""

    verdict: Verdict


class DispatchReport(Model):
    """The response of `report_dispatched_smelt`; `event` is to be broadcast, None if no visible state changed.

    The verdict is `foreign` if the reported file belongs to another smelt; `seq` is None if the smelt was deleted.
    """

    verdict: Verdict | Literal["foreign"]
    seq: int | None
    event: ProgressEvent | None


class Settled(Model):
    """The response of `complete_smelt`, `fail_smelt` and `release_smelt`.

    A repeated call returns the first result. `outbox` contains the events of the smelt that are not sent yet; they are
    leased to the worker for 15 s. `verdict` is `settled`, `retrying` (claimable again at `claimable_at`),
    `released`, or `lost` (a newer attempt holds the smelt; nothing changed).
    """

    verdict: Literal["settled", "retrying", "released", "lost"]
    status: Status | None = None
    outcome: Outcome | None = None
    error_code: str | None = None
    completed_at: datetime | None = None
    claimable_at: datetime | None = None
    outbox: tuple["OutboxMessage", ...] = ()


AttemptEnd = Literal["settled", "retrying", "released", "expired"]
"""How an attempt ended: by a settling call of its worker, or because its lease expired."""


class AttemptRow(Model):
    """An attempt as it is stored for the operator; `risk` is the last reported one, `ended_as` None while it runs."""

    attempt: int
    run: int
    worker_id: str
    host: str
    claimed_at: datetime
    ended_at: datetime | None
    ended_as: AttemptEnd | None
    risk: Risk | None
    is_failure: bool
    error_code: str | None
    reason: str | None


class SmeltAttempts(Model):
    """The response of `get_smelt_attempts`: the attempts of a smelt in order, and what is known about it.

    `failure_count` is the number of failures in a row without progress; `suspect` is the risk with which its lease
    expired, until an attempt has passed that stage.
    """

    smelt_id: UUID
    run: int
    status: Status
    failure_count: int
    error_code: str | None
    error_message: str | None
    claimable_at: datetime | None
    suspect: Risk | None
    attempts: tuple[AttemptRow, ...]


class OutboxMessage(Model):
    """An unsent broadcast of the outbox; settled by `id` once it was acknowledged."""

    id: int
    event_id: UUID
    topic: str
    event: str
    payload: dict[str, Any]

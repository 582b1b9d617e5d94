"""What the functions for workers answer."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from smelt.contract.events import Model, ProgressEvent, Segment
from smelt.contract.state import Word
from smelt.contract.vocabulary import FileStatus, InputType, Mode, Outcome, Status

Verdict = Literal["go_on", "cancelled", "lost"]
"""What a worker does next with a smelt: work on, stop because it was cancelled, stop because it is not its own."""


class ClaimedFile(Model):
    """A file of a claimed smelt, as far as earlier attempts got.

    `checkpoint` is the worker's own, saved with the segments it belongs to; `transcribed` says the transcript is whole.
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
    """A smelt that this worker owns until `lease_expires_at`; every later call carries `(id, attempt)`."""

    id: UUID
    user_id: UUID | None
    batch_id: UUID | None
    run: int
    attempt: int
    seq: int
    status: Status
    percentage: float
    mode: Mode
    text_input: str | None
    default_prompt_names: tuple[str, ...]
    user_prompt: UserPrompt | None
    failure_count: int
    lease_expires_at: datetime
    max_file_bytes: int
    max_duration_s: float
    files: tuple[ClaimedFile, ...]


class ClaimBatch(Model):
    """The answer of `claim_smelts`; `next_due_in_s` tells when to look again at the latest, null: nothing is due."""

    smelts: tuple[Claim, ...]
    next_due_at: datetime | None
    next_due_in_s: float | None


class SavedSegment(Segment):
    """A segment as it is stored, with what the model thought of it."""

    avg_logprob: float | None = None
    no_speech_prob: float | None = None
    compression_ratio: float | None = None
    words: tuple[Word, ...] | None = None


class Report(Model):
    """The answer of `report_smelt_progress`; `event` is what to broadcast, null when nothing visible changed."""

    verdict: Verdict
    event: ProgressEvent | None


class LeaseRenewal(Model):
    """The answer of `renew_smelt_leases` for one smelt."""

    smelt_id: UUID
    attempt: int
    verdict: Verdict


class Settled(Model):
    """The answer of `complete_smelt`, `fail_smelt` and `release_smelt`.

    Whoever settles second gets the answer of the first. `verdict` is `settled`, `retrying` (it will be claimed again
    at `claimable_at`), `released`, or `lost` (a newer attempt owns the smelt, nothing was changed).
    """

    verdict: Literal["settled", "retrying", "released", "lost"]
    status: Status | None = None
    outcome: Outcome | None = None
    error_code: str | None = None
    completed_at: datetime | None = None
    claimable_at: datetime | None = None


class OutboxMessage(Model):
    """A broadcast that is still owed; settled by `id` once it was acknowledged."""

    id: int
    event_id: UUID
    topic: str
    event: str
    payload: dict[str, Any]

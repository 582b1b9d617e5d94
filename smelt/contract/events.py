"""What travels on the channel `smelt:<id>`: one frozen model an event, and the parser for it.

Unknown keys are ignored and nothing but the first columns of the contract is required of a sender that is newer or
older than this reader.
"""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError

from smelt.contract.vocabulary import FileStatus, Outcome, Status


class Model(BaseModel):
    """A value that crossed a border: parsed once, frozen, tolerant of keys it does not know.

    What is wrong with a value is told without the value, which may be somebody's words.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Envelope(Model):
    """What every event carries. `seq` grows with every visible change of a smelt and never resets."""

    smelt_id: UUID
    event_id: UUID
    seq: int
    run: int
    attempt: int
    eta_seconds: float | None = None
    emitted_at: datetime


class StageProgress(Model):
    """How far a smelt is: `percentage` 0 to 100, never back within a run."""

    percentage: float
    stage: Status
    message: str


class FileProgress(Model):
    """How far one file is: `progress` 0 to 100."""

    id: UUID
    status: FileStatus
    progress: float


class Segment(Model):
    """A piece of transcript; `start` and `end` in seconds from the start of the recording, `index` from 0."""

    index: int
    start: float
    end: float
    text: str


class Result(Model):
    """One output in Markdown; of a combined smelt `file_id` is the smelt's own id."""

    file_id: UUID
    filename: str
    content: str


class ProgressEvent(Envelope):
    """The whole state of a smelt that is under way, all of its files included."""

    status: Status
    progress: StageProgress
    files: tuple[FileProgress, ...]


class SegmentsEvent(Envelope):
    """The transcript of one file as it grows; at most 64 KiB an event."""

    file_id: UUID
    segments: tuple[Segment, ...]


class CompletedEvent(Envelope):
    """The end of a smelt that went well; `results` is empty when `results_truncated`."""

    status: Literal["completed"]
    outcome: Outcome
    results: tuple[Result, ...]
    results_truncated: bool = False
    completed_at: datetime


class FailedEvent(Envelope):
    """The end of a smelt that did not; `error_code` is kept open for codes of newer senders."""

    status: Literal["failed"]
    error_code: str
    error_message: str
    completed_at: datetime


EventName = Literal["progress", "segments", "completed", "failed"]
SmeltEvent = ProgressEvent | SegmentsEvent | CompletedEvent | FailedEvent

EVENT_MODELS: dict[str, type[ProgressEvent] | type[SegmentsEvent] | type[CompletedEvent] | type[FailedEvent]] = {
    "progress": ProgressEvent,
    "segments": SegmentsEvent,
    "completed": CompletedEvent,
    "failed": FailedEvent,
}


def parse_event(event: str, payload: object) -> SmeltEvent | None:
    """Parse a broadcast; None for an event this reader does not know. Raises pydantic's `ValidationError`."""
    model = EVENT_MODELS.get(event)
    return None if model is None else model.model_validate(payload)


def error_summary(error: ValidationError) -> str:
    """What is wrong with a value, where and how: `seq: int_parsing, run: missing`; nothing of the value itself."""
    return ", ".join(f"{'.'.join(map(str, one['loc']))}: {one['type']}" for one in error.errors(include_input=False))

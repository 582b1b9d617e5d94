"""Events on the channel `smelt:<id>`: a frozen model for each, and the parser.

Unknown keys are ignored, and keys that were added later have defaults, so that sender and reader may differ in version.
"""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, ValidationError

from smelt.contract.vocabulary import FileStatus, Outcome, Status


class Model(BaseModel):
    """Base of all values from outside: validated once, frozen, unknown keys ignored.

    Validation errors do not contain the value, which may be part of a transcript.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Envelope(Model):
    """The common keys of all events. `seq` grows with every visible change of a smelt and never resets."""

    smelt_id: UUID
    event_id: UUID
    seq: int
    run: int
    attempt: int
    eta_seconds: float | None = None
    emitted_at: datetime


class StageProgress(Model):
    """The progress of a smelt: `percentage` is 0 to 100 and never decreases within a run."""

    percentage: float
    stage: Status
    message: str


class FileProgress(Model):
    """The progress of one file, 0 to 100, and once it is transcribed, the seconds of speech without text."""

    id: UUID
    status: FileStatus
    progress: float
    untranscribed_seconds: float = 0.0


class Segment(Model):
    """A piece of a transcript; `start` and `end` in seconds from the start of the recording, `index` from 0.

    `speaker` is a label such as `Speaker 1`, None if the speaker is unknown.
    """

    index: int
    start: float
    end: float
    text: str
    speaker: str | None = None


class NewSegment(Segment):
    """A segment in an event `progress`, with the id of its file."""

    file_id: UUID


class Result(Model):
    """The result of a file in Markdown; in mode `combine`, `file_id` is the id of the smelt."""

    file_id: UUID
    filename: str
    content: str


class Output(Model):
    """An output of a smelt that has not ended: the text so far, and whether it is complete.

    Outputs of a file are written in the order of `position`, which counts from 0. `title` is that of the prompt.
    `content` is None if it does not fit into an event; a read returns it.
    """

    file_id: UUID
    position: int
    title: str
    content: str | None
    is_complete: bool


class ProgressEvent(Envelope):
    """The whole state of a smelt that has not ended, with all of its files; at most 64 KiB.

    `segments` are new since the last event; those that do not fit are sent before it as events `segments`. `outputs`
    are all that are complete or being written.
    """

    status: Status
    progress: StageProgress
    files: tuple[FileProgress, ...]
    segments: tuple[NewSegment, ...] = ()
    outputs: tuple[Output, ...] = ()


class SegmentsEvent(Envelope):
    """New segments of one file that did not fit into the `progress` after it; at most 64 KiB."""

    file_id: UUID
    segments: tuple[Segment, ...]


class CompletedEvent(Envelope):
    """The end of a completed smelt; with `results_truncated`, `results` is empty and must be read."""

    status: Literal["completed"]
    outcome: Outcome
    results: tuple[Result, ...]
    results_truncated: bool = False
    completed_at: datetime


class FailedEvent(Envelope):
    """The end of a failed smelt; `error_code` is a plain string, since newer senders may add codes."""

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
    """Parse a broadcast; return None for an unknown event, raise pydantic's `ValidationError` if it is invalid."""
    model = EVENT_MODELS.get(event)
    return None if model is None else model.model_validate(payload)


def error_summary(error: ValidationError) -> str:
    """Return the locations and types of the errors, such as `seq: int_parsing, run: missing`, without any value."""
    return ", ".join(f"{'.'.join(map(str, one['loc']))}: {one['type']}" for one in error.errors(include_input=False))

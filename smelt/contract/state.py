"""What `create_smelt`, `get_smelt` and `get_smelts` answer."""

from datetime import datetime
from uuid import UUID

from smelt.contract.events import Model, Result, Segment, StageProgress
from smelt.contract.vocabulary import FileStatus, InputType, Mode, Outcome, Status


class CreatedFile(Model):
    """A file that was announced; audio goes to `upload_path` in the bucket `smelt-audio`, text has none."""

    id: UUID
    filename: str
    size_bytes: int
    input_type: InputType
    position: int
    status: FileStatus
    upload_path: str | None


class Created(Model):
    """The answer of `create_smelt`."""

    id: UUID
    status: Status
    mode: Mode
    files: tuple[CreatedFile, ...]
    default_prompt_names: tuple[str, ...]
    user_prompt_id: UUID | None
    created_at: datetime
    subscription_channel: str


class Trust(Model):
    """How far a transcript can be trusted: what was left out, which segments are doubtful, and what heard it.

    Segments are named by their index; `notice` is a sentence for people about a model that is not made for all speech.
    """

    silence_seconds: float
    low_confidence_segments: tuple[int, ...]
    repeated_segments: tuple[int, ...]
    model: str | None = None
    notice: str | None = None


class FileState(Model):
    """One file of a smelt; `progress` 0 to 100, `duration_seconds` and `language` once they are known.

    `trust` is there once the file is transcribed.
    """

    id: UUID
    filename: str
    position: int
    input_type: InputType
    size_bytes: int
    duration_seconds: float | None = None
    language: str | None = None
    language_probability: float | None = None
    trust: Trust | None = None
    status: FileStatus
    stage: Status
    progress: float
    error_code: str | None = None
    error_message: str | None = None


class Word(Model):
    """A word of a segment: `start` and `end` in seconds from the start of the recording, `probability` 0 to 1.

    It has the space before it that it is written with, so that the words of a segment put together are its text, also
    in languages that write without spaces.
    """

    word: str
    start: float
    end: float
    probability: float


class FileSegment(Segment):
    """A segment with the file it belongs to; `words` only where they were asked for and the worker saved them."""

    file_id: UUID
    words: tuple[Word, ...] | None = None


class Snapshot(Model):
    """The whole state of a smelt, read in one statement.

    `segments` holds those written after the `segments_after` of the request, and `segments_seq` is what to pass there
    next time. `results` is null until the smelt is completed. `worker_online` is true if any worker of the project has
    sent a heartbeat within the last 60 s.
    """

    id: UUID
    seq: int
    run: int
    attempt: int
    status: Status
    mode: Mode
    progress: StageProgress
    eta_seconds: float | None
    queue_position: int | None
    worker_online: bool
    files: tuple[FileState, ...]
    segments: tuple[FileSegment, ...]
    segments_seq: int
    outcome: Outcome | None
    results: tuple[Result, ...] | None
    error_code: str | None
    error_message: str | None
    default_prompt_names: tuple[str, ...]
    user_prompt_id: UUID | None
    batch_id: UUID | None
    created_at: datetime
    submitted_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    subscription_channel: str
    next_poll_s: float | None

    def segments_of(self, file_id: UUID) -> tuple[FileSegment, ...]:
        """Those of one file, in order."""
        return tuple(segment for segment in self.segments if segment.file_id == file_id)


class Unchanged(Model):
    """Nothing a watcher can see has changed since the `after_seq` of the request.

    Only its place in the queue may have, which is included while the smelt waits, and whether a worker is running.
    """

    id: UUID
    seq: int
    next_poll_s: float | None
    queue_position: int | None = None
    worker_online: bool

"""The responses of `create_smelt`, `get_smelt` and `get_smelts`."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from pydantic import Field

from smelt.contract.events import Model, Output, Result, Segment, StageProgress
from smelt.contract.vocabulary import FileStatus, InputType, Mode, Outcome, Status


class CreatedFile(Model):
    """An announced file; `upload_path` is its path in the bucket `smelt-audio`, None for a text."""

    id: UUID
    filename: str
    size_bytes: int
    input_type: InputType
    position: int
    status: FileStatus
    upload_path: str | None


class Created(Model):
    """The response of `create_smelt`."""

    id: UUID
    status: Status
    mode: Mode
    files: tuple[CreatedFile, ...]
    default_prompt_names: tuple[str, ...]
    user_prompt_id: UUID | None
    created_at: datetime
    subscription_channel: str


Stretch = tuple[float, float]
"""A part of a recording: its start and end in seconds."""


class LanguageShare(Model):
    """A language of a transcript: its code, and its part of the transcribed speech, 0 to 1 and in seconds."""

    language: str
    share: float
    seconds: float


class Trust(Model):
    """The reliability of a transcript: silence, doubtful segments, speech without a text, and the model.

    Segments are listed by `index`, stretches by time. None means that the worker did not report the value.

    Attributes:
        silence_seconds: seconds in which no speech was detected.
        low_confidence_segments: segments of whose text the model was unsure.
        repeated_segments: segments that repeat themselves or their neighbors.
        untranscribed_seconds: seconds of detected speech that no segment covers.
        untranscribed: the stretches of these seconds.
        retried: stretches that were transcribed again, because their first text was suspicious.
        languages: the languages of the transcribed speech, largest share first.
        damaged_seconds: seconds that could not be decoded and were processed as silence.
        damaged: the stretches of these seconds.
        clock_jumps: jumps of the recording's clock that were too large to be filled with silence; times after a jump
            are those of the sound alone.
        track: the number of the audio track that was transcribed, from 1; None if there is only one.
        track_count: the number of audio tracks; None if there is only one.
        channel: the number of the channel that was transcribed, from 1; None if the mix of all channels was, or each.
        speaker_count: the number of speakers that were identified by their voices; None if that was not requested.
        uncertain_speakers: the share of the speech, 0 to 1, whose voice resembles two speakers: it is high where
            speakers talk at the same time.
        translated: True if the text is an English translation; `languages` are those that were spoken.
        model: the name of the model.
        notice: a sentence for people if the model is not suited for all speech.
    """

    silence_seconds: float
    low_confidence_segments: tuple[int, ...]
    repeated_segments: tuple[int, ...]
    untranscribed_seconds: float | None = None
    untranscribed: tuple[Stretch, ...] = ()
    retried: tuple[Stretch, ...] = ()
    languages: tuple[LanguageShare, ...] = ()
    damaged_seconds: float | None = None
    damaged: tuple[Stretch, ...] = ()
    clock_jumps: int | None = None
    track: int | None = None
    track_count: int | None = None
    channel: int | None = None
    speaker_count: int | None = None
    uncertain_speakers: float | None = None
    translated: bool = False
    model: str | None = None
    notice: str | None = None


class FileState(Model):
    """One file of a smelt; `progress` is 0 to 100, `duration_seconds` and `language` are None until known.

    `language` is that of the first speech, also if it is translated; `trust.languages` lists all. `trust` is None until
    the file is transcribed. `speaker_names` are the names that were given to speakers, by their labels.
    """

    id: UUID
    filename: str
    position: int
    input_type: InputType
    size_bytes: int
    duration_seconds: float | None = None
    language: str | None = None
    language_probability: float | None = None
    speaker_names: dict[str, str] = Field(default_factory=dict)
    trust: Trust | None = None
    status: FileStatus
    stage: Status
    progress: float
    error_code: str | None = None
    error_message: str | None = None


class Word(Model):
    """A word of a segment: `start` and `end` in seconds from the start of the recording, `probability` 0 to 1.

    `word` includes the space before it, if any: the words of a segment joined without a separator are its text, in
    every language.
    """

    word: str
    start: float
    end: float
    probability: float


class FileSegment(Segment):
    """A segment with the id of its file; `words` is None unless they were requested and the worker saved them."""

    file_id: UUID
    words: tuple[Word, ...] | None = None


MAX_QUEUE_POSITION: Final = 1000
"""Places in the queue are exact up to this one; a `queue_position` of 1001 means any place above it."""


class Snapshot(Model):
    """The whole state of a smelt, read in one statement.

    `segments` contains those that were saved after the `segments_after` of the request; `segments_seq` is the value to
    pass in the next request. `results` is None until the smelt is completed; `outputs` are those that are complete or
    being written before. `queue_position` counts from 1 while the
    smelt waits for a worker, and is at most 1001, which means more than 1,000 (`MAX_QUEUE_POSITION`). `worker_online`
    is True if any worker of the project that has the model of the smelt has sent a heartbeat within the last 60 s.
    `options` are those that were requested, except default values; `metadata` is JSON of the app.
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
    outputs: tuple[Output, ...] = ()
    outcome: Outcome | None
    results: tuple[Result, ...] | None
    error_code: str | None
    error_message: str | None
    default_prompt_names: tuple[str, ...]
    user_prompt_id: UUID | None
    batch_id: UUID | None
    options: dict[str, Any] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)
    created_at: datetime
    submitted_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    subscription_channel: str
    next_poll_s: float | None

    def segments_of(self, file_id: UUID) -> tuple[FileSegment, ...]:
        """Return the segments of one file, in order."""
        return tuple(segment for segment in self.segments if segment.file_id == file_id)


class Unchanged(Model):
    """The smelt has not changed since the `after_seq` of the request.

    `queue_position` and `message` (None unless the smelt is in the queue) and `worker_online` may have changed, since
    other smelts and workers determine them.
    """

    id: UUID
    seq: int
    next_poll_s: float | None
    queue_position: int | None = None
    message: str | None = None
    worker_online: bool

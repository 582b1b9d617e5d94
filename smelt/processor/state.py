"""The state of a smelt in its worker, and which part of it is not reported yet."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from smelt.contract.events import Output, Result
from smelt.contract.vocabulary import ErrorCode, FileStatus, Status
from smelt.contract.work import Claim, ClaimedFile, Risk, SavedSegment
from smelt.processor.children.decoders import Decoding
from smelt.processor.media.recording import Recording
from smelt.processor.media.values import MediaLimits, Probe
from smelt.processor.progress import FilePosition, message, overall_share, percentage
from smelt.processor.speech.checkpoint import Checkpoint, read_checkpoint
from smelt.processor.speech.requested import parsed_options
from smelt.processor.speed import TranscriptionTimer

# The key of the outputs in a saved checkpoint.
_OUTPUTS: Final = "outputs"
# Fields of a file that a later report may as well contain.
_PROGRESS_FIELDS: Final = frozenset(
    {"id", "status", "stage", "progress", "duration_seconds", "language", "language_probability"}
)


@dataclass
class FileWork:
    """One file in progress; `share` is its progress in the current stage, 0 to 1."""

    claimed: ClaimedFile
    share: float = 0.0
    status: FileStatus = "processing"
    error_code: ErrorCode | None = None
    error_message: str | None = None
    duration_s: float | None = None
    language: str | None = None
    language_probability: float | None = None
    # The transcript is complete, and `transcribed` follows once its speakers are identified.
    has_text: bool = False
    transcribed: bool = False
    trust: dict[str, Any] | None = None
    checkpoint: Checkpoint | None = None
    segments: list[SavedSegment] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    source: Path | None = None
    decoding: Decoding | None = None
    probed: Probe | None = None
    recording: Recording | None = None
    timer: TranscriptionTimer | None = None
    written: dict[int, Output] = field(default_factory=dict)
    """The outputs that are complete or being written, by position."""
    result: Result | None = None

    @property
    def id(self) -> UUID:
        """The id of the file's row."""
        return self.claimed.id

    @property
    def channel_count(self) -> int:
        """The number of separate channels, each of which is transcribed; 1 until it is known."""
        return 1 if self.recording is None else self.recording.width

    @property
    def failed(self) -> bool:
        """True if this file has failed."""
        return self.status == "failed"

    async def release_child(self) -> None:
        """End the child that this file may have."""
        if self.decoding is not None:
            await self.decoding.release()

    @property
    def saved_checkpoint(self) -> Checkpoint:
        """The checkpoint that an earlier attempt saved."""
        return read_checkpoint({k: v for k, v in (self.claimed.checkpoint or {}).items() if k != _OUTPUTS})

    @property
    def checkpoint_row(self) -> dict[str, Any] | None:
        """The checkpoint to save for the next attempt; None if the file has not progressed."""
        if self.checkpoint is None and not self.outputs:
            return None
        row = (self.checkpoint or self.saved_checkpoint).model_dump(mode="json")
        return row | {_OUTPUTS: dict(self.outputs)} if self.outputs else row


@dataclass(frozen=True)
class Draft:
    """A report that is ready to be sent."""

    status: Status
    risk: Risk | None
    percentage: float
    message: str
    files: tuple[dict[str, Any], ...]
    segments: tuple[tuple[UUID, SavedSegment], ...]
    outputs: tuple[Output, ...]
    changed_outputs: tuple[Output, ...]
    file_rows: dict[UUID, dict[str, Any]]

    @property
    def has_results(self) -> bool:
        """True if it contains work that a later attempt would have to repeat, or a failed file."""
        return bool(self.segments) or any(not file.keys() <= _PROGRESS_FIELDS for file in self.files)

    @property
    def has_transcript(self) -> bool:
        """True if it contains a part of a transcript, or a failed file."""
        return bool(self.segments) or any(not file.keys() <= _PROGRESS_FIELDS | {"checkpoint"} for file in self.files)

    def segment_rows(self) -> list[dict[str, Any]]:
        """Return the segments in the format of `report_smelt_progress`."""
        return [{"file_id": str(file_id), **segment.model_dump()} for file_id, segment in self.segments]


Weight = Callable[[FileWork], float]
"""Returns the weight of a file in the progress of a stage."""


def size_weight(file: FileWork) -> float:
    """Return the size of a file."""
    return max(1.0, float(file.claimed.size_bytes))


class SmeltState:
    """The state of one smelt in progress; every change calls `on_change(urgent)`.

    `options` are those of the smelt; if they can't be parsed here, `options_issue` is a sentence that names one.
    """

    def __init__(self, claim: Claim, on_change: Callable[[bool], None]) -> None:
        self.claim = claim
        self.options, self.options_issue = parsed_options(claim.options)
        self.stage: Status = "validating"
        self.risk: Risk | None = None
        self.files = [_file_work(claimed) for claimed in claim.files]
        self.limits = MediaLimits(max_file_bytes=claim.max_file_bytes, max_duration_s=claim.max_duration_s)
        self._on_change = on_change
        self._weight: Weight = size_weight
        self._unsaved: list[tuple[UUID, SavedSegment]] = []
        self._reported: dict[UUID, dict[str, Any]] = {}
        self._reported_outputs: dict[tuple[UUID, int], Output] = {}

    @property
    def live_files(self) -> list[FileWork]:
        """The files that have not failed, in order."""
        return [file for file in self.files if not file.failed]

    @property
    def audio_s(self) -> float:
        """The duration of all recordings in seconds, as far as it is known."""
        return sum(file.duration_s or 0.0 for file in self.files)

    @property
    def percentage(self) -> float:
        """The progress of this attempt; watchers see the maximum over all attempts."""
        return percentage(self.stage, overall_share([FilePosition(f.share, self._weight(f)) for f in self.live_files]))

    def enter(self, stage: Status, weight: Weight = size_weight, first_share: float = 0.0) -> None:
        """Start a stage for all files that have not failed, with the weight of each in its progress."""
        self.stage, self._weight = stage, weight
        for file in self.live_files:
            file.share = 1.0 if file.transcribed and stage != "synthesizing" else first_share
        # Downloading a small file takes less time than a report; the report before its probe has the stage too.
        self._on_change(stage != "validating")

    def advance(self, file: FileWork, share: float) -> None:
        """Update the progress of a file in this stage; a share never decreases."""
        if share > file.share:
            file.share = min(1.0, share)
            self._on_change(False)

    def write_output(self, file: FileWork, output: Output) -> None:
        """Set an output of a file, or its text so far."""
        file.written[output.position] = output
        self._on_change(False)

    def fail(self, file: FileWork, code: ErrorCode, sentence: str | None = None) -> None:
        """Mark one file as failed; without a sentence, its owner reads that of the code."""
        file.status, file.error_code, file.error_message = "failed", code, sentence
        self._on_change(True)

    def add_segments(
        self, file: FileWork, segments: tuple[SavedSegment, ...], checkpoint: Checkpoint, share: float
    ) -> None:
        """Add transcribed segments, with the checkpoint after them; the first text is urgent."""
        is_first_text = bool(segments) and not any(other.segments for other in self.files)
        file.segments.extend(segments)
        file.checkpoint = checkpoint
        self._unsaved.extend((file.id, segment) for segment in segments)
        file.share = max(file.share, min(1.0, share))
        self._on_change(is_first_text)

    def set_speakers(self, file: FileWork, labels: Sequence[str | None]) -> None:
        """Set the speaker of each segment of a transcript whose segments are all reported."""
        labeled = [s.model_copy(update={"speaker": label}) for s, label in zip(file.segments, labels, strict=True)]
        changed = [new for old, new in zip(file.segments, labeled, strict=True) if new != old]
        file.segments = labeled
        self._unsaved.extend((file.id, segment) for segment in changed)
        self._on_change(True)

    def mark_changed(self, *, urgent: bool = False) -> None:
        """Notify of a change that was made directly."""
        self._on_change(urgent)

    def draft(self) -> Draft:
        """Return what to report now; it stays unreported until `confirm`."""
        file_rows = {file.id: self._file_row(file) for file in self.files}
        return Draft(
            status=self.stage,
            risk=self.risk,
            percentage=self.percentage,
            message=message(self.stage, self.percentage, self.claim.percentage, self._title),
            files=tuple(_changed_fields(row, self._reported.get(file_id)) for file_id, row in file_rows.items()),
            segments=tuple(self._unsaved),
            outputs=tuple(self._outputs()),
            changed_outputs=tuple(self._changed_outputs()),
            file_rows=file_rows,
        )

    def confirm(self, draft: Draft) -> None:
        """Mark a draft as reported."""
        self._reported.update(draft.file_rows)
        self._reported_outputs.update({_key(output): output for output in draft.changed_outputs})
        del self._unsaved[: len(draft.segments)]

    @property
    def _title(self) -> str | None:
        """The title of the output that is being written, with its number if there are several."""
        count = output_count(self.claim)
        for output in self._outputs():
            if not output.is_complete:
                return output.title if count == 1 else f"{output.title} ({output.position + 1} of {count})"
        return None

    def _outputs(self) -> Iterator[Output]:
        return (output for file in self.live_files for output in file.written.values())

    def _changed_outputs(self) -> Iterator[Output]:
        return (output for output in self._outputs() if output != self._reported_outputs.get(_key(output)))

    def _file_row(self, file: FileWork) -> dict[str, Any]:
        row: dict[str, Any] = {
            "id": str(file.id),
            "status": file.status,
            "stage": self.stage,
            "progress": percentage(self.stage, file.share),
            "duration_seconds": file.duration_s,
            "language": file.language,
            "language_probability": file.language_probability,
            "error_code": file.error_code,
            "error_message": file.error_message,
            "transcribed": file.transcribed or None,
            # Segments that an earlier attempt saved beyond this count are discarded.
            "segment_count": len(file.segments) if file.transcribed and file.recording is not None else None,
            "checkpoint": file.checkpoint_row,
            "trust": file.trust,
        }
        if file.failed:
            del row["stage"], row["progress"]  # A failed file keeps the stage in which it failed.
        return {key: value for key, value in row.items() if value is not None}


def output_count(claim: Claim) -> int:
    """Return how many outputs each file of a smelt gets."""
    return len(claim.default_prompt_names) + (claim.user_prompt is not None)


def _key(output: Output) -> tuple[UUID, int]:
    return output.file_id, output.position


def _file_work(claimed: ClaimedFile) -> FileWork:
    return FileWork(
        claimed,
        # A file that failed in an earlier attempt of this run stays failed.
        status="failed" if claimed.status == "failed" else "processing",
        duration_s=claimed.duration_seconds,
        language=claimed.language,
        transcribed=claimed.transcribed,
        outputs=dict((claimed.checkpoint or {}).get(_OUTPUTS, {})),
    )


def _changed_fields(row: dict[str, Any], reported: dict[str, Any] | None) -> dict[str, Any]:
    previous = reported or {}
    return {key: value for key, value in row.items() if key == "id" or previous.get(key) != value}

"""What a worker knows of a smelt that it works on, and what of it the database has not heard yet."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from smelt.contract.vocabulary import ErrorCode, FileStatus, Status
from smelt.contract.work import Claim, ClaimedFile, SavedSegment
from smelt.processor.media.probe import MediaLimits, Probe
from smelt.processor.media.recording import Recording
from smelt.processor.progress import Place, message, overall_share, percentage
from smelt.processor.speech.checkpoint import Checkpoint, read_checkpoint
from smelt.processor.speed import TranscriptionTimer

# Where in a checkpoint they are saved.
_OUTPUTS: Final = "outputs"


@dataclass
class FileWork:
    """One file under way; `share` is how far it is in the stage of its smelt."""

    claimed: ClaimedFile
    share: float = 0.0
    status: FileStatus = "processing"
    error_code: ErrorCode | None = None
    duration_s: float | None = None
    language: str | None = None
    language_probability: float | None = None
    transcribed: bool = False
    trust: dict[str, Any] | None = None
    checkpoint: Checkpoint | None = None
    segments: list[SavedSegment] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    source: Path | None = None
    probed: Probe | None = None
    recording: Recording | None = None
    hearing: TranscriptionTimer | None = None

    @property
    def id(self) -> UUID:
        """The id of the file's row."""
        return self.claimed.id

    @property
    def failed(self) -> bool:
        """Whether this file is given up."""
        return self.status == "failed"

    @property
    def start(self) -> Checkpoint:
        """Where transcription takes up what an earlier attempt saved."""
        return read_checkpoint({k: v for k, v in (self.claimed.checkpoint or {}).items() if k != _OUTPUTS})

    @property
    def saved(self) -> dict[str, Any] | None:
        """What an attempt after this one goes on from; None when that is the beginning."""
        if self.checkpoint is None and not self.outputs:
            return None
        place = (self.checkpoint or self.start).model_dump(mode="json")
        return place | {_OUTPUTS: dict(self.outputs)} if self.outputs else place


@dataclass(frozen=True)
class Draft:
    """A report that is ready to be sent."""

    status: Status
    percentage: float
    message: str
    files: tuple[dict[str, Any], ...]
    segments: tuple[tuple[UUID, SavedSegment], ...]
    views: dict[UUID, dict[str, Any]]

    def segment_rows(self) -> list[dict[str, Any]]:
        """The segments as `report_smelt_progress` takes them."""
        return [{"file_id": str(file_id), **segment.model_dump()} for file_id, segment in self.segments]


class SmeltState:
    """The state of one smelt under way; every change calls `on_change(urgent)`."""

    def __init__(self, claim: Claim, on_change: Callable[[bool], None]) -> None:
        self.claim = claim
        self.stage: Status = "validating"
        self.files = [_file_work(claimed) for claimed in claim.files]
        self.limits = MediaLimits(max_file_bytes=claim.max_file_bytes, max_duration_s=claim.max_duration_s)
        self._on_change = on_change
        self._unsaved: list[tuple[UUID, SavedSegment]] = []
        self._reported: dict[UUID, dict[str, Any]] = {}

    @property
    def live_files(self) -> list[FileWork]:
        """The files that are not given up, in order."""
        return [file for file in self.files if not file.failed]

    @property
    def percentage(self) -> float:
        """How far this attempt is; what watchers see is the highest of all attempts."""
        return percentage(self.stage, overall_share([Place(f.share, self._weight(f)) for f in self.live_files]))

    def enter(self, stage: Status) -> None:
        """Begin a stage with all files that are still live."""
        self.stage = stage
        for file in self.live_files:
            file.share = 1.0 if file.transcribed and stage != "synthesizing" else 0.0
        self._on_change(True)

    def advance(self, file: FileWork, share: float) -> None:
        """Note how far a file is in this stage; shares only grow."""
        if share > file.share:
            file.share = min(1.0, share)
            self._on_change(False)

    def fail(self, file: FileWork, code: ErrorCode) -> None:
        """Give one file up."""
        file.status, file.error_code = "failed", code
        self._on_change(True)

    def learn(self, file: FileWork, segments: tuple[SavedSegment, ...], checkpoint: Checkpoint, share: float) -> None:
        """Take in what was heard, together with where to take up after it."""
        file.segments.extend(segments)
        file.checkpoint = checkpoint
        self._unsaved.extend((file.id, segment) for segment in segments)
        file.share = max(file.share, min(1.0, share))
        self._on_change(False)

    def touch(self, *, urgent: bool = False) -> None:
        """Tell of a change that was made directly."""
        self._on_change(urgent)

    def draft(self) -> Draft:
        """What to report now; nothing is forgotten until `confirm`."""
        views = {file.id: self._view(file) for file in self.files}
        return Draft(
            status=self.stage,
            percentage=self.percentage,
            message=message(self.stage, self.percentage, self.claim.percentage),
            files=tuple(_delta(view, self._reported.get(file_id)) for file_id, view in views.items()),
            segments=tuple(self._unsaved),
            views=views,
        )

    def confirm(self, draft: Draft) -> None:
        """The database has this report."""
        self._reported.update(draft.views)
        del self._unsaved[: len(draft.segments)]

    def _weight(self, file: FileWork) -> float:
        if self.stage == "transcribing" and file.duration_s:
            return file.duration_s
        return 1.0 if self.stage == "synthesizing" else max(1.0, float(file.claimed.size_bytes))

    def _view(self, file: FileWork) -> dict[str, Any]:
        view: dict[str, Any] = {
            "id": str(file.id),
            "status": file.status,
            "stage": self.stage,
            "progress": percentage(self.stage, file.share),
            "duration_seconds": file.duration_s,
            "language": file.language,
            "language_probability": file.language_probability,
            "error_code": file.error_code,
            "transcribed": file.transcribed or None,
            # What an earlier attempt heard beyond this is none of the transcript.
            "segment_count": len(file.segments) if file.transcribed and file.recording is not None else None,
            "checkpoint": file.saved,
            "trust": file.trust,
        }
        if file.failed:
            del view["stage"], view["progress"]  # It stays where it was given up.
        return {key: value for key, value in view.items() if value is not None}


def _file_work(claimed: ClaimedFile) -> FileWork:
    return FileWork(
        claimed,
        # What has ended in an earlier attempt of this run stays so.
        status="failed" if claimed.status == "failed" else "processing",
        duration_s=claimed.duration_seconds,
        language=claimed.language,
        transcribed=claimed.transcribed,
        outputs=dict((claimed.checkpoint or {}).get(_OUTPUTS, {})),
    )


def _delta(view: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    known = before or {}
    return {key: value for key, value in view.items() if key == "id" or known.get(key) != value}

"""A smelt that a test controls.

Its events are merged like live events, so that a test receives the updates of a real watch.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID, uuid4

from smelt.contract.channels import smelt_channel
from smelt.contract.events import (
    CompletedEvent,
    FailedEvent,
    FileProgress,
    Output,
    ProgressEvent,
    Result,
    Segment,
    SegmentsEvent,
    SmeltEvent,
    StageProgress,
)
from smelt.contract.state import FileSegment, FileState, Snapshot, Unchanged
from smelt.contract.vocabulary import (
    ERROR_SENTENCES,
    PERCENT_RANGES,
    STAGE_MESSAGES,
    ErrorCode,
    FileStatus,
    InputType,
    Mode,
    Outcome,
    Status,
)
from smelt.errors import SmeltError
from smelt.subscriber.backlog import Item
from smelt.subscriber.timeline import Timeline
from smelt.subscriber.updates import Completed, ConnectionEvent, Failed, Progress, Segments, Update

SEGMENT_S: Final = 2.0


class FakeSmelt:
    """A smelt that a test controls, from any thread; it starts as pending."""

    def __init__(
        self,
        *filenames: str,
        smelt_id: UUID | None = None,
        input_type: InputType = "audio",
        mode: Mode = "separate",
        prompts: tuple[str, ...] = ("summarize",),
        user_prompt_id: UUID | None = None,
        batch_id: UUID | None = None,
        options: Mapping[str, Any] = MappingProxyType({}),
        metadata: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.id = smelt_id or uuid4()
        self.filenames = filenames or ("recording.ogg",)
        self.file_ids = tuple(uuid4() for _ in self.filenames)
        self.input_type = input_type
        self.mode = mode
        self.prompts = prompts
        self.user_prompt_id = user_prompt_id
        self.batch_id = batch_id
        self.options = dict(options)
        self.metadata = dict(metadata)
        self.created_at = datetime.now(UTC)
        self.submitted_at: datetime | None = None
        self.on_change: Callable[[FakeSmelt], None] | None = None
        self._started_at: datetime | None = None
        self._timeline = Timeline(self.id)
        self._items: list[Item] = []
        self._segments: list[list[Segment]] = [[] for _ in self.filenames]
        self._speaker_names: list[dict[str, str]] = [{} for _ in self.filenames]
        self._seq = 0
        self._run = 1
        self._worker_online = True
        self._error: SmeltError | None = None
        self._waiting: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}
        self.progress("pending")

    @property
    def updates(self) -> list[Update]:
        """The updates of the current run so far."""
        return [item for item in self._items if isinstance(item, Progress | Segments | Completed | Failed)]

    @property
    def ended(self) -> bool:
        """True once it is completed or failed."""
        return self._timeline.ended is not None

    def progress(
        self,
        status: Status,
        percentage: float | None = None,
        *,
        message: str | None = None,
        eta_seconds: float | None = None,
        outputs: Sequence[Output] = (),
    ) -> None:
        """Emit progress, with the outputs so far; `percentage` defaults to the start of the stage."""
        reached = PERCENT_RANGES[status][0] if percentage is None else percentage
        if status != "pending" and self._started_at is None:
            self._started_at = datetime.now(UTC)
        state = "pending" if status == "pending" else "processing"
        files = [{"id": file_id, "status": state, "progress": reached} for file_id in self.file_ids]
        self._take(
            ProgressEvent(
                **self._envelope(eta_seconds),
                status=status,
                progress=StageProgress(percentage=reached, stage=status, message=message or STAGE_MESSAGES[status]),
                files=tuple(FileProgress.model_validate(file) for file in files),
                outputs=tuple(outputs),
            )
        )

    def workers(self, *, online: bool) -> None:
        """Emit whether any worker of the project is online."""
        self._worker_online = online
        unchanged = Unchanged(id=self.id, seq=self._seq, next_poll_s=None, worker_online=online)
        self._emit(*self._timeline.merge_unchanged(unchanged))

    def segments(self, *texts: str, file: int = 0, speaker: str | None = None) -> None:
        """Emit new segments of a file: one per text, two seconds each, of one speaker."""
        first = len(self._segments[file])
        new = [
            Segment(index=index, start=index * SEGMENT_S, end=(index + 1) * SEGMENT_S, text=text, speaker=speaker)
            for index, text in enumerate(texts, first)
        ]
        self._segments[file] += new
        self._take(SegmentsEvent(**self._envelope(), file_id=self.file_ids[file], segments=tuple(new)))

    def rename_speaker(self, speaker: str, name: str, file_id: UUID | None = None) -> bool:
        """Name a speaker, as `client.rename_speaker` does; return False if no segment has it."""
        found = [
            names
            for of_file, names, segments in zip(self.file_ids, self._speaker_names, self._segments, strict=True)
            if file_id in (None, of_file) and any(segment.speaker == speaker for segment in segments)
        ]
        for names in found:
            names[speaker] = name
            if name == speaker:
                del names[speaker]
        if found:
            self._seq += 1
            if self.on_change is not None:
                self.on_change(self)
        return bool(found)

    def complete(self, *contents: str, outcome: Outcome = "complete") -> None:
        """Complete the smelt with one content per file; missing contents are empty."""
        padded = [*contents, *[""] * (len(self.filenames) - len(contents))]
        results = tuple(
            Result(file_id=file_id, filename=filename, content=content)
            for file_id, filename, content in zip(self.file_ids, self.filenames, padded, strict=True)
        )
        now = datetime.now(UTC)
        self._take(
            CompletedEvent(**self._envelope(), status="completed", outcome=outcome, results=results, completed_at=now)
        )

    def fail(self, error_code: ErrorCode = "internal_error") -> None:
        """Fail the smelt."""
        sentence = ERROR_SENTENCES[error_code]
        now = datetime.now(UTC)
        self._take(
            FailedEvent(
                **self._envelope(), status="failed", error_code=error_code, error_message=sentence, completed_at=now
            )
        )

    def restart(self) -> None:
        """Start the next run, as `client.retry` does; the transcript is kept."""
        self._run += 1
        self._timeline, self._items, self._started_at = Timeline(self.id), [], None
        self.progress("pending")
        for file_id, kept in zip(self.file_ids, self._segments, strict=True):
            if kept:
                self._take(SegmentsEvent(**self._envelope(), file_id=file_id, segments=tuple(kept)))

    def connection_event(self, event: ConnectionEvent) -> None:
        """Emit a connection event to watches with `connection_events` and to subscriptions."""
        self._emit(event)

    def raise_error(self, error: SmeltError) -> None:
        """End every watch with an error, for example to simulate a lost permission."""
        self._error = error
        self._wake()

    async def items(self) -> AsyncGenerator[Item, None]:
        """Yield every update and connection event of the current run, from the first, to each watch."""
        items, position = self._items, 0
        wake_up = asyncio.Event()
        self._waiting[wake_up] = asyncio.get_running_loop()
        try:
            while True:
                wake_up.clear()
                while position < len(items):
                    item = items[position]
                    position += 1
                    yield item
                    if isinstance(item, Completed | Failed):
                        return
                if self._error is not None:
                    raise self._error
                await wake_up.wait()
        finally:
            del self._waiting[wake_up]

    def snapshot(self) -> Snapshot:
        """Return the state as `client.get` does."""
        progress, ended = self._timeline.progress, self._timeline.ended
        assert progress is not None
        status = progress.status if ended is None else ended.status
        percentage = 100.0 if status == "completed" else progress.percentage
        message = progress.message if ended is None else STAGE_MESSAGES[status]
        open_end = dict.fromkeys(("outcome", "results", "error_code", "error_message", "completed_at"))
        return Snapshot.model_validate(
            {
                **open_end,
                **({} if ended is None else ended.model_dump()),
                "id": self.id,
                "seq": self._seq,
                "run": self._run,
                "attempt": 1,
                "status": status,
                "mode": self.mode,
                "progress": StageProgress(percentage=percentage, stage=status, message=message),
                "eta_seconds": None if ended else progress.eta_seconds,
                "queue_position": None,
                "worker_online": self._worker_online,
                "files": self._file_states(status, percentage),
                "segments": self._file_segments(),
                "segments_seq": self._seq,
                "outputs": () if ended else progress.outputs,
                "default_prompt_names": self.prompts,
                "user_prompt_id": self.user_prompt_id,
                "batch_id": self.batch_id,
                "options": self.options,
                "metadata": self.metadata,
                "created_at": self.created_at,
                "submitted_at": self.submitted_at,
                "started_at": self._started_at,
                "subscription_channel": smelt_channel(str(self.id)),
                "next_poll_s": None,
            }
        )

    def _file_segments(self) -> tuple[FileSegment, ...]:
        return tuple(
            FileSegment(
                file_id=file_id, **segment.model_dump() | {"speaker": names.get(segment.speaker or "", segment.speaker)}
            )
            for file_id, names, segments in zip(self.file_ids, self._speaker_names, self._segments, strict=True)
            for segment in segments
        )

    def _file_states(self, status: Status, percentage: float) -> tuple[FileState, ...]:
        states: dict[Status, FileStatus] = {"pending": "pending", "completed": "completed", "failed": "failed"}
        return tuple(
            FileState(
                id=file_id,
                filename=filename,
                position=position,
                input_type=self.input_type,
                size_bytes=0,
                status=states.get(status, "processing"),
                stage=status,
                progress=percentage,
                speaker_names=names,
            )
            for position, (file_id, filename, names) in enumerate(
                zip(self.file_ids, self.filenames, self._speaker_names, strict=True)
            )
        )

    def _envelope(self, eta_seconds: float | None = None) -> dict[str, Any]:
        if self.ended:
            raise ValueError(f"smelt {self.id} has ended: no event can follow")
        self._seq += 1
        return {
            "smelt_id": self.id,
            "event_id": uuid4(),
            "seq": self._seq,
            "run": self._run,
            "attempt": 1,
            "eta_seconds": eta_seconds,
            "emitted_at": datetime.now(UTC),
        }

    def _take(self, event: SmeltEvent) -> None:
        self._emit(*self._timeline.merge_event(event), *self._timeline.conclude())
        if self.on_change is not None:
            self.on_change(self)

    def _emit(self, *items: Item) -> None:
        self._items += items
        self._wake()

    def _wake(self) -> None:
        for wake_up, loop in list(self._waiting.items()):
            loop.call_soon_threadsafe(wake_up.set)

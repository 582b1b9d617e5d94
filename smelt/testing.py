"""A client without a project, for the tests of code that watches smelts.

    async def test_my_view(smelt_client):            # the fixture comes with the package
        smelt = smelt_client.add("meeting.m4a")
        watching = asyncio.create_task(my_view(smelt_client, smelt.id))
        smelt.progress("transcribing", 40, eta_seconds=12)
        smelt.segments("Good morning.")
        smelt.complete("# Notes")
        await watching

Events go through the same `Timeline` as those of a real watch, so that a test receives the same updates.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from uuid import UUID, uuid4

from smelt.contract.channels import smelt_channel
from smelt.contract.events import (
    CompletedEvent,
    FailedEvent,
    FileProgress,
    ProgressEvent,
    Result,
    Segment,
    SegmentsEvent,
    StageProgress,
)
from smelt.contract.state import Created, CreatedFile, Unchanged
from smelt.contract.vocabulary import (
    ERROR_SENTENCES,
    PERCENT_RANGES,
    STAGE_MESSAGES,
    ErrorCode,
    Mode,
    Outcome,
    Status,
)
from smelt.errors import NotFound, SmeltError, SmeltFailed, Unavailable
from smelt.subscriber.subscription import Callback, Callbacks, ConnectionCallback, Subscription
from smelt.subscriber.timeline import Timeline
from smelt.subscriber.updates import Completed, Failed, Progress, Segments, Update

__all__ = ["FakeClient", "FakeSmelt"]

SEGMENT_S: Final = 2.0


class FakeSmelt:
    """A smelt that a test controls; it starts as pending."""

    def __init__(self, *filenames: str, smelt_id: UUID | None = None) -> None:
        self.id = smelt_id or uuid4()
        self.filenames = filenames or ("recording.ogg",)
        self.file_ids = tuple(uuid4() for _ in self.filenames)
        self.updates: list[Update] = []
        self._timeline = Timeline(self.id)
        self._texts = [0 for _ in self.filenames]
        self._seq = 0
        self._percentage = 0.0
        self._error: SmeltError | None = None
        self._waiting: set[asyncio.Event] = set()
        self.progress("pending")

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
    ) -> None:
        """Emit progress; `percentage` defaults to the start of the stage."""
        self._percentage = PERCENT_RANGES[status][0] if percentage is None else percentage
        stage = StageProgress(percentage=self._percentage, stage=status, message=message or STAGE_MESSAGES[status])
        state = "pending" if status == "pending" else "processing"
        files = [{"id": file_id, "status": state, "progress": self._percentage} for file_id in self.file_ids]
        self._take(
            ProgressEvent(
                **self._envelope(eta_seconds),
                status=status,
                progress=stage,
                files=tuple(FileProgress.model_validate(file) for file in files),
            )
        )

    def workers(self, *, online: bool) -> None:
        """Emit whether any worker of the project is running."""
        unchanged = Unchanged(id=self.id, seq=self._seq, next_poll_s=None, worker_online=online)
        self.updates += self._timeline.merge_unchanged(unchanged)
        self._wake()

    def segments(self, *texts: str, file: int = 0) -> None:
        """Emit new segments of a file: one per text, two seconds each."""
        first = self._texts[file]
        self._texts[file] += len(texts)
        spoken = tuple(
            Segment(index=index, start=index * SEGMENT_S, end=(index + 1) * SEGMENT_S, text=text)
            for index, text in enumerate(texts, first)
        )
        self._take(SegmentsEvent(**self._envelope(), file_id=self.file_ids[file], segments=spoken))

    def complete(self, *contents: str, outcome: Outcome = "complete") -> None:
        """Complete the smelt with one content per file; missing contents are empty."""
        padded = [*contents, *[""] * (len(self.filenames) - len(contents))]
        results = tuple(
            Result(file_id=file_id, filename=filename, content=content)
            for file_id, filename, content in zip(self.file_ids, self.filenames, padded, strict=True)
        )
        now = datetime.now(UTC)
        self._end(
            CompletedEvent(**self._envelope(), status="completed", outcome=outcome, results=results, completed_at=now)
        )

    def fail(self, error_code: ErrorCode = "internal_error") -> None:
        """Fail the smelt."""
        sentence = ERROR_SENTENCES[error_code]
        now = datetime.now(UTC)
        self._end(
            FailedEvent(
                **self._envelope(), status="failed", error_code=error_code, error_message=sentence, completed_at=now
            )
        )

    def raise_error(self, error: SmeltError) -> None:
        """End every watch with an error, for example to simulate a lost permission."""
        self._error = error
        self._wake()

    async def watch(self) -> AsyncGenerator[Update, None]:
        """Yield all updates from the first one, independently for each watcher."""
        place = 0
        news = asyncio.Event()
        self._waiting.add(news)
        try:
            while True:
                while place < len(self.updates):
                    update = self.updates[place]
                    place += 1
                    yield update
                    if isinstance(update, Completed | Failed):
                        return
                if self._error is not None:
                    raise self._error
                news.clear()
                await news.wait()
        finally:
            self._waiting.discard(news)

    def _envelope(self, eta_seconds: float | None = None) -> dict[str, Any]:
        self._seq += 1
        return {
            "smelt_id": self.id,
            "event_id": uuid4(),
            "seq": self._seq,
            "run": 1,
            "attempt": 1,
            "eta_seconds": eta_seconds,
            "emitted_at": datetime.now(UTC),
        }

    def _take(self, event: ProgressEvent | SegmentsEvent | CompletedEvent | FailedEvent) -> None:
        if self.ended:
            raise ValueError(f"smelt {self.id} has ended: it cannot emit further events")
        self.updates += self._timeline.merge_event(event)
        self._wake()

    def _end(self, event: CompletedEvent | FailedEvent) -> None:
        self._take(event)
        self.updates += self._timeline.conclude()
        self._wake()

    def _wake(self) -> None:
        for news in self._waiting:
            news.set()


class FakeClient:
    """A replacement of `smelt.Client` for code that creates, watches and cancels smelts; without I/O."""

    def __init__(self) -> None:
        self.smelts: dict[UUID, FakeSmelt] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Do nothing: there is nothing to close."""

    def add(self, *filenames: str) -> FakeSmelt:
        """Add a smelt as if another client had created it."""
        smelt = FakeSmelt(*filenames)
        self.smelts[smelt.id] = smelt
        return smelt

    async def create(
        self,
        *,
        files: Sequence[str | PathLike[str]] = (),
        text: str | None = None,
        prompts: Sequence[str] = ("summarize",),
        mode: Mode = "separate",
        **_: object,
    ) -> Created:
        """Create a smelt of files, which need not exist, or of a text; control it as `smelts[created.id]`."""
        names = [Path(file).name for file in files] or (["text"] if text is not None else [])
        smelt = self.add(*names)
        listed = [
            CreatedFile(
                id=file_id,
                filename=name,
                size_bytes=0,
                input_type="text" if text is not None else "audio",
                position=position,
                status="pending",
                upload_path=None if text is not None else f"{smelt.id}/{file_id}/{name}",
            )
            for position, (file_id, name) in enumerate(zip(smelt.file_ids, smelt.filenames, strict=True))
        ]
        return Created(
            id=smelt.id,
            status="pending",
            mode=mode,
            files=tuple(listed),
            default_prompt_names=tuple(prompts),
            user_prompt_id=None,
            created_at=datetime.now(UTC),
            subscription_channel=smelt_channel(str(smelt.id)),
        )

    def watch(self, smelt_id: UUID | str) -> AsyncGenerator[Update, None]:
        """Yield the updates of a smelt to its end; raise `NotFound` if it was not added."""
        return self._watch(UUID(str(smelt_id)))

    async def wait(self, smelt_id: UUID | str, *, timeout_s: float | None = None) -> Completed:
        """Wait until a smelt completes; raise `SmeltFailed` if it fails, `TimeoutError` after `timeout_s` seconds."""
        async with asyncio.timeout(timeout_s), aclosing(self.watch(smelt_id)) as updates:
            async for update in updates:
                if isinstance(update, Completed):
                    return update
                if isinstance(update, Failed):
                    raise SmeltFailed(str(update.smelt_id), update.error_code, update.error_message)
        raise Unavailable("the watch ended before the smelt")

    async def subscribe(
        self,
        smelt_id: UUID | str,
        *,
        on_progress: Callback[Progress] | None = None,
        on_segments: Callback[Segments] | None = None,
        on_completed: Callback[Completed] | None = None,
        on_failed: Callback[Failed] | None = None,
        on_error: Callback[Exception] | None = None,
        on_connected: ConnectionCallback | None = None,
        on_disconnected: ConnectionCallback | None = None,
    ) -> Subscription:
        """Follow a smelt with callbacks; the connection callbacks are never called."""
        callbacks = Callbacks(
            on_progress, on_segments, on_completed, on_failed, on_error, on_connected, on_disconnected
        )
        return Subscription(_Followed(self, UUID(str(smelt_id))), callbacks, lambda _: None)

    async def cancel(self, smelt_id: UUID | str) -> None:
        """Fail a smelt with the code `cancelled`. A smelt that has ended does not change."""
        smelt = self._find(UUID(str(smelt_id)))
        if not smelt.ended:
            smelt.fail("cancelled")

    async def _watch(self, smelt_id: UUID) -> AsyncGenerator[Update, None]:
        async with aclosing(self._find(smelt_id).watch()) as updates:
            async for update in updates:
                yield update

    def _find(self, smelt_id: UUID) -> FakeSmelt:
        if smelt_id not in self.smelts:
            raise NotFound("not_found", "The smelt does not exist, or belongs to another user.")
        return self.smelts[smelt_id]


class _Followed:
    """The watch of a `FakeSmelt`, as `Subscription` expects it."""

    def __init__(self, client: FakeClient, smelt_id: UUID) -> None:
        self.smelt_id = smelt_id
        self._client = client

    def items(self) -> AsyncGenerator[Update, None]:
        return self._client.watch(self.smelt_id)

    def refresh(self) -> None:
        """Do nothing: all updates are emitted at once."""

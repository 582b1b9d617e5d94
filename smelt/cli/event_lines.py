"""Converts the updates of a watch to events of the contract, for `--json`."""

from datetime import UTC, datetime
from typing import Any, assert_never
from uuid import uuid4

from smelt.contract.events import (
    CompletedEvent,
    EventName,
    FailedEvent,
    SegmentsEvent,
    SmeltEvent,
    StageProgress,
)
from smelt.contract.lines import ProgressLine
from smelt.subscriber.updates import Completed, Failed, Progress, Segments, Update


class EventLines:
    """Makes one event of each update, with a new `event_id` and `emitted_at`.

    If an update has no `seq` or `attempt`, the event has those of the update before it.
    """

    def __init__(self) -> None:
        self._seq = 0
        self._attempt = 0

    def line(self, update: Update) -> dict[str, Any]:
        """Return an update as a line of `CommandEvents`."""
        name, event = self._event(update)
        return {"event": name, **event.model_dump(mode="json")}

    def _event(self, update: Update) -> tuple[EventName, SmeltEvent]:
        envelope = self._envelope(update)
        match update:
            case Progress():
                progress = StageProgress(percentage=update.percentage, stage=update.status, message=update.message)
                return "progress", ProgressLine(
                    **envelope,
                    status=update.status,
                    progress=progress,
                    files=update.files,
                    outputs=update.outputs,
                    queue_position=update.queue_position,
                    worker_online=update.worker_online,
                )
            case Segments():
                return "segments", SegmentsEvent(**envelope, file_id=update.file_id, segments=update.segments)
            case Completed():
                return "completed", CompletedEvent(
                    **envelope,
                    status=update.status,
                    outcome=update.outcome,
                    results=update.results,
                    completed_at=update.completed_at,
                )
            case Failed():
                return "failed", FailedEvent(
                    **envelope,
                    status=update.status,
                    error_code=update.error_code,
                    error_message=update.error_message,
                    completed_at=update.completed_at,
                )
            case _:
                assert_never(update)

    def _envelope(self, update: Update) -> dict[str, Any]:
        if isinstance(update, Progress):
            self._attempt = update.attempt
        if not isinstance(update, Segments):
            self._seq = update.seq
        return {
            "smelt_id": update.smelt_id,
            "event_id": uuid4(),
            "seq": self._seq,
            "run": update.run,
            "attempt": self._attempt,
            "eta_seconds": update.eta_seconds if isinstance(update, Progress) else None,
            "emitted_at": datetime.now(UTC),
        }

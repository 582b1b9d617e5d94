"""The stream of all files of a user: those that exist, then each change."""

import json
from datetime import UTC, datetime
from typing import Final, Literal

from smelt.contract.rows import FileRow
from smelt.gateway.streams import frames
from smelt.gateway.streams.rows import RowsSource, RowsStream
from smelt.subscriber.mirror import FeedChange, FileChange

HEARTBEAT_INTERVAL_S: Final = 30.0

EventType = Literal["connected", "file-update", "file-deleted", "heartbeat"]


class FilesSource(RowsSource):
    """One feed of a user, for all readers of files."""

    def is_visible(self, change: FeedChange) -> bool:
        """Return False for a smelt, and for a change of columns that the messages do not contain."""
        if not isinstance(change, FileChange):
            return False
        return change.kind != "update" or change.before is None or file_of(change.row) != file_of(change.before)


class FilesStream(RowsStream):
    """The files of a user for one reader; every event is a `message`."""

    subject = "files"
    make_source = FilesSource
    heartbeat_interval_s = HEARTBEAT_INTERVAL_S

    def opening(self) -> bytes:
        """Return the message `connected`."""
        return message("connected")

    def heartbeat(self) -> bytes:
        """Return the message `heartbeat`."""
        return message("heartbeat")

    def joined_frame(self) -> bytes:
        """Return nothing: all files follow."""
        return b""

    def first_number(self, source: RowsSource) -> int:
        """Begin with all files."""
        return 0

    def frame_of(self, change: FeedChange) -> bytes:
        """Return the message for a file."""
        assert isinstance(change, FileChange)
        if change.kind == "delete":
            return message("file-deleted", {"id": str(change.row.id)})
        return message("file-update", file_of(change.row))


def file_of(row: FileRow) -> dict[str, object]:
    """Return a file as the messages contain it."""
    return {
        "id": str(row.id),
        "filename": row.filename,
        "file_type": row.input_type,
        "status": row.status,
        "progress": row.progress,
        "processing_stage": row.stage if row.status == "processing" else None,
        "error_message": row.error_message,
    }


def message(event_type: EventType, file: dict[str, object] | None = None) -> bytes:
    """Return a message; its `timestamp` is now."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    content: dict[str, object] = {"eventType": event_type, "timestamp": now}
    return frames.event(None, json.dumps(content if file is None else {**content, "file": file}))

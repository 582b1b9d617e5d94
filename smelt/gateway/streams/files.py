"""The stream of all files of a user: those that exist, then each change."""

import json
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple
from uuid import UUID

from smelt.contract.rows import FileRow
from smelt.gateway.streams import frames
from smelt.gateway.streams.hub import Source
from smelt.gateway.streams.stream import SEND_TIMEOUT_S, UserStream
from smelt.subscriber.client import Client
from smelt.subscriber.mirror import FileChange

HEARTBEAT_INTERVAL_S: Final = 30.0
TOMBSTONE_S: Final = 2 * SEND_TIMEOUT_S
"""How long a deletion is kept: a reader that takes nothing for `SEND_TIMEOUT_S` is gone."""

EventType = Literal["connected", "file-update", "file-deleted", "heartbeat"]


class Change(NamedTuple):
    """The newest state of a file, None once it is deleted, and the number of the change."""

    number: int
    file: FileRow | None
    at: float


class FilesSource(Source):
    """One feed of a user, for all of its readers."""

    def __init__(self) -> None:
        super().__init__()
        self._number = 0
        # One change for each file, the newest last.
        self._changes: dict[UUID, Change] = {}

    async def follow(self, client: Client) -> None:
        """Keep the newest state of each file."""
        async with client.feed() as feed:
            async for change in feed:
                if isinstance(change, FileChange) and self.record(change):
                    self.wake()

    def record(self, change: FileChange) -> bool:
        """Keep a change; return False if it is not visible in the stream."""
        row, before = change.row, change.before
        if change.kind == "update" and before is not None and file_of(row) == file_of(before):
            return False
        now = time.monotonic()
        self._number += 1
        self._changes.pop(row.id, None)
        self._changes[row.id] = Change(self._number, None if change.kind == "delete" else row, now)
        if change.kind == "delete":
            self._changes = {
                file_id: kept
                for file_id, kept in self._changes.items()
                if kept.file is not None or now - kept.at < TOMBSTONE_S
            }
        return True

    def after(self, number: int) -> Iterator[tuple[UUID, Change]]:
        """Return the changes after one, oldest first; after 0 those of files that exist."""
        newer: list[tuple[UUID, Change]] = []
        for file_id, change in reversed(self._changes.items()):
            if change.number <= number:
                break
            newer.append((file_id, change))
        return ((file_id, change) for file_id, change in reversed(newer) if number or change.file is not None)


class FilesStream(UserStream):
    """The files of a user for one reader; every event is a `message`."""

    heartbeat_interval_s = HEARTBEAT_INTERVAL_S

    def opening(self) -> bytes:
        """Return the message `connected`."""
        return message("connected")

    def heartbeat(self) -> bytes:
        """Return the message `heartbeat`."""
        return message("heartbeat")

    async def frames(self) -> AsyncGenerator[bytes | None, None]:
        """Yield all files, then each change."""
        while True:
            number = 0
            with self.hub.joined(self.caller, "files", self.changed, FilesSource) as source:
                while not source.is_closed:
                    frame = b""
                    for file_id, change in source.after(number):
                        frame += frame_of(file_id, change.file)
                        number = change.number
                    yield frame or None
            async with aclosing(self.rejoin()) as waiting:
                async for _ in waiting:
                    yield None
            # Deletions in the meantime are unknown: the reader forgets what it has, and gets all files again.
            yield self.opening()


def frame_of(file_id: UUID, row: FileRow | None) -> bytes:
    """Return the message for a file; None for one that was deleted."""
    return message("file-deleted", {"id": str(file_id)}) if row is None else message("file-update", file_of(row))


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

"""The stream of the changes of all rows that a user owns: smelts and files."""

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Final, NamedTuple, assert_never
from uuid import UUID

from smelt.contract.rows import RowChange, RowChangeType, SmeltsDeleted
from smelt.gateway.streams import frames
from smelt.gateway.streams.hub import Source
from smelt.gateway.streams.stream import SEND_TIMEOUT_S, UserStream
from smelt.subscriber.client import Client
from smelt.subscriber.mirror import FeedChange, FileChange, SmeltChange

TOMBSTONE_S: Final = 2 * SEND_TIMEOUT_S
"""How long a deletion is kept: a reader that takes nothing for `SEND_TIMEOUT_S` is gone."""


class Recorded(NamedTuple):
    """The newest change of a row, and the number of the change."""

    number: int
    change: FeedChange
    at: float


class RowsSource(Source):
    """One feed of a user, for all of its readers."""

    def __init__(self) -> None:
        super().__init__()
        self.is_loaded = False
        self.last_number = 0
        # One change for each row, the newest last.
        self._recorded: dict[UUID, Recorded] = {}

    async def follow(self, client: Client) -> None:
        """Keep the newest change of each row."""
        async with client.feed() as feed:
            await feed.loaded()
            self.is_loaded = True
            self.wake()
            async for change in feed:
                if self.record(change):
                    self.wake()

    def is_visible(self, change: FeedChange) -> bool:
        """Return True if readers get a change."""
        return True

    def record(self, change: FeedChange) -> bool:
        """Keep a change; return False if it is not visible in the stream."""
        if not self.is_visible(change):
            return False
        now = time.monotonic()
        self.last_number += 1
        self._recorded.pop(change.row.id, None)
        self._recorded[change.row.id] = Recorded(self.last_number, change, now)
        if change.kind == "delete":
            self._recorded = {
                row_id: kept
                for row_id, kept in self._recorded.items()
                if kept.change.kind != "delete" or now - kept.at < TOMBSTONE_S
            }
        return True

    def after(self, number: int) -> Iterator[Recorded]:
        """Return the changes after one, oldest first; after 0 those of rows that exist."""
        newer: list[Recorded] = []
        for recorded in reversed(self._recorded.values()):
            if recorded.number <= number:
                break
            newer.append(recorded)
        return (one for one in reversed(newer) if number or one.change.kind != "delete")


class RowsStream(UserStream):
    """The changes of all rows of a user for one reader, who reads the rows itself once it is connected."""

    subject = "rows"
    make_source: type[RowsSource] = RowsSource

    def opening(self) -> bytes:
        """Return nothing: the reader is connected once the source is loaded."""
        return b""

    def joined_frame(self) -> bytes:
        """Return the event `connected`: no change and no deletion after it is lost."""
        return frames.connected({})

    def first_number(self, source: RowsSource) -> int:
        """Return the number after which changes are sent."""
        return source.last_number

    async def frames(self) -> AsyncGenerator[bytes | None, None]:
        """Yield each change."""
        while True:
            with self.hub.joined(self.caller, self.subject, self.changed, self.make_source) as source:
                while not (source.is_loaded or source.is_closed):
                    yield None
                number = self.first_number(source)
                frame = self.joined_frame()
                while not source.is_closed:
                    for recorded in source.after(number):
                        frame += self.frame_of(recorded.change)
                        number = recorded.number
                    yield frame or None
                    frame = b""
            async with aclosing(self.rejoin()) as waiting:
                async for _ in waiting:
                    yield None

    def frame_of(self, change: FeedChange) -> bytes:
        """Return the event for a change: those of the channel `smelt-feed:<user_id>`."""
        match change:
            case FileChange(kind="delete"):
                return b""  # That of its smelt implies it.
            case SmeltChange(kind="delete"):
                return frames.event("smelts_deleted", SmeltsDeleted(ids=(change.row.id,)).model_dump_json())
            case FileChange():
                return _changed("smelt_files", change)
            case SmeltChange():
                return _changed("smelts", change)
            case _:
                assert_never(change)


def _changed(table: str, change: FeedChange) -> bytes:
    kind: RowChangeType = "INSERT" if change.kind == "insert" else "UPDATE"
    content = RowChange(table=table, type=kind, record=change.row.model_dump(mode="json"))
    return frames.event("change", content.model_dump_json())

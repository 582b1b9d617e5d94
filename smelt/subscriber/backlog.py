"""The queue of a slow consumer: bounded by one progress per stage and one transcript."""

from collections import deque

from smelt.subscriber.updates import (
    Connected,
    ConnectionEvent,
    ConnectionIssue,
    Disconnected,
    Progress,
    Segments,
    Update,
)

Item = Update | ConnectionEvent


class Backlog:
    """A queue of updates that merges as it grows.

    A newer progress replaces an older one of the same stage, segments of a file are concatenated, and only the newest
    connection event of each kind is kept.
    """

    def __init__(self) -> None:
        self._items: deque[Item] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: Item) -> None:
        """Append an item; merge it with an older one that it replaces or continues."""
        for position, older in enumerate(self._items):
            merged = _merged(older, item)
            if merged is not None:
                del self._items[position]
                item = merged
                break
        self._items.append(item)

    def pop(self) -> Item | None:
        """Remove and return the oldest item, None if the queue is empty."""
        return self._items.popleft() if self._items else None


def _merged(older: Item, newer: Item) -> Item | None:
    match older, newer:
        case (Progress(), Progress()) if (older.run, older.status) == (newer.run, newer.status):
            return newer
        case (Segments(), Segments()) if (older.run, older.file_id) == (newer.run, newer.file_id):
            return newer.model_copy(update={"segments": older.segments + newer.segments})
        case Connected() | Disconnected(), Connected() | Disconnected():
            return newer
        case (ConnectionIssue(), ConnectionIssue()) if older.live == newer.live:
            return newer
        case _:
            return None

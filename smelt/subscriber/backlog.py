"""What a consumer has not taken yet; it holds the newest state, and never more than one transcript."""

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
    """A queue that stays short: a newer progress of the same stage takes the place of the older one, segments of one
    file are put together, and of the signals only the newest of each kind is kept.
    """

    def __init__(self) -> None:
        self._items: deque[Item] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: Item) -> None:
        """Put an item behind the others, and drop or merge what it replaces."""
        for place, older in enumerate(self._items):
            merged = _merged(older, item)
            if merged is not None:
                del self._items[place]
                item = merged
                break
        self._items.append(item)

    def pop(self) -> Item | None:
        """Take the oldest item, None when there is none."""
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

"""Tracks the presences of a channel and computes the differences to send. No I/O."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from math import inf

from smelt.local.realtime.protocol import Json

Metas = dict[str, list[Json]]


@dataclass(frozen=True, slots=True)
class _Entry:
    key: str
    meta: dict[str, Json]


@dataclass(slots=True)
class Roster:
    """The presences of one channel, each owned by a joined socket."""

    references: Iterator[str]
    _entries: dict[object, _Entry] = field(default_factory=dict)

    def track(self, owner: object, key: str, meta: dict[str, Json]) -> Json:
        """Set the presence of an owner and return the difference."""
        previous = self._entries.get(owner)
        stamp: dict[str, Json] = {"phx_ref": next(self.references)}
        if previous is not None:
            stamp["phx_ref_prev"] = previous.meta["phx_ref"]
        entry = self._entries[owner] = _Entry(key, {**meta, **stamp})
        return _diff(entry, previous)

    def untrack(self, owner: object) -> Json | None:
        """Remove the presence of an owner; return the difference, or None if there was none."""
        previous = self._entries.pop(owner, None)
        return None if previous is None else _diff(None, previous)

    def state(self) -> dict[str, Metas]:
        """Return all presences by key."""
        state: dict[str, Metas] = {}
        for entry in self._entries.values():
            state.setdefault(entry.key, {"metas": []})["metas"].append(entry.meta)
        return state

    def __bool__(self) -> bool:
        return bool(self._entries)


def references(prefix: str) -> Iterator[str]:
    """Yield references without end; a prefix per server start makes them unique."""
    return (f"{prefix}{number:x}" for number in count(1))


def _diff(joined: _Entry | None, left: _Entry | None) -> Json:
    return {"joins": _side(joined), "leaves": _side(left)}


def _side(entry: _Entry | None) -> Json:
    return {} if entry is None else {entry.key: {"metas": [entry.meta]}}


@dataclass(slots=True)
class CallLimit:
    """Limits calls per window; a window opens with the first call after the previous one."""

    max_calls: int
    window_s: float
    _calls: int = 0
    _ends_at: float = -inf

    def allows(self, now: float) -> bool:
        """Count a call and return True if it is allowed."""
        if now > self._ends_at:
            self._calls, self._ends_at = 0, now + self.window_s
        self._calls += 1
        return self._calls <= self.max_calls

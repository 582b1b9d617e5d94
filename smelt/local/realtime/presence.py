"""Who is on a channel and what they say of themselves: joins, updates and leaves as differences. No I/O."""

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
    """The presences of one channel, each owned by one joined socket."""

    references: Iterator[str]
    _entries: dict[object, _Entry] = field(default_factory=dict)

    def track(self, owner: object, key: str, meta: dict[str, Json]) -> Json:
        """Set what an owner says of itself; answer the difference."""
        before = self._entries.get(owner)
        stamp: dict[str, Json] = {"phx_ref": next(self.references)}
        if before is not None:
            stamp["phx_ref_prev"] = before.meta["phx_ref"]
        entry = self._entries[owner] = _Entry(key, {**meta, **stamp})
        return _diff(entry, before)

    def untrack(self, owner: object) -> Json | None:
        """Forget an owner; answer the difference, None when it was not there."""
        before = self._entries.pop(owner, None)
        return None if before is None else _diff(None, before)

    def state(self) -> dict[str, Metas]:
        """Who is there."""
        state: dict[str, Metas] = {}
        for entry in self._entries.values():
            state.setdefault(entry.key, {"metas": []})["metas"].append(entry.meta)
        return state

    def __bool__(self) -> bool:
        return bool(self._entries)


def references(prefix: str) -> Iterator[str]:
    """Endless references that no other server start makes, given a prefix of its own."""
    return (f"{prefix}{number:x}" for number in count(1))


def _diff(joined: _Entry | None, left: _Entry | None) -> Json:
    return {"joins": _side(joined), "leaves": _side(left)}


def _side(entry: _Entry | None) -> Json:
    return {} if entry is None else {entry.key: {"metas": [entry.meta]}}


@dataclass(slots=True)
class CallLimit:
    """At most so many calls in a window; the first one that comes after it opens the next."""

    max_calls: int
    window_s: float
    _calls: int = 0
    _ends_at: float = -inf

    def allows(self, now: float) -> bool:
        """Count a call and say whether it is within the limit."""
        if now > self._ends_at:
            self._calls, self._ends_at = 0, now + self.window_s
        self._calls += 1
        return self._calls <= self.max_calls

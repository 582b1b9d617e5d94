"""Builds the frames of postgres_changes and of system events as JSON text."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Final, Protocol

from smelt.local.realtime.pgoutput import UNCHANGED, Action, Relation, UnchangedValue, Value
from smelt.local.realtime.protocol import TOPIC_PREFIX, Json, Push, dump
from smelt.local.realtime.rendering import PgType, needs_postgres, render, render_record

NO_KEY: Final = "Error 400: Bad Request, no primary key"
UNAUTHORIZED: Final = "Error 401: Unauthorized"
TOO_LARGE: Final = "Error 413: Payload Too Large"
_MAX_VALUE_BYTES: Final = 64
_COLUMN_BYTES: Final = 55
"""Size of the platform's JSON for a value, without the value and the column's name."""


JsonValues = Mapping[tuple[PgType, str], str]
"""JSON text of values that Postgres converted."""


@dataclass(frozen=True)
class LoggedChange:
    """A change of a row, with its relation, commit time and transaction id."""

    action: Action
    relation: Relation
    new: tuple[Value, ...] | None
    old: tuple[Value, ...] | None
    committed_us: int
    xid: int = 0

    @cached_property
    def record(self) -> dict[str, str | None]:
        """The new row; unchanged TOAST values come from the old row, or are missing."""
        return _logged_values(self.relation, _filled(self.new, self.old)) if self.new is not None else {}

    @cached_property
    def identity(self) -> dict[str, str | None]:
        """The columns of the old row that are in the replica identity."""
        row, columns = self.old or self.new or (), self.relation.columns
        kept = [value if column.in_identity else UNCHANGED for column, value in zip(columns, row, strict=True)]
        return _logged_values(self.relation, kept)

    @property
    def filtered_values(self) -> dict[str, str | None]:
        """The values that filters are evaluated on."""
        return self.identity if self.action == "DELETE" else _logged_values(self.relation, self.new or ())

    @property
    def characters(self) -> int:
        """The total length of its values, an estimate of its memory use."""
        return sum(len(value) for row in (self.new, self.old) for value in row or () if isinstance(value, str))

    @cached_property
    def size_bytes(self) -> int:
        """The size of the change as the platform's JSON."""
        known = (_logged_values(self.relation, row).items() for row in (self.new, self.old) if row is not None)
        return sum(
            _COLUMN_BYTES + len(name) + (len(dump(value).encode()) if value is not None else 0)
            for row in known
            for name, value in row
        )


class Facts(Protocol):
    """The facts of a table that decide about its frames."""

    @property
    def rls(self) -> bool: ...

    @property
    def key(self) -> tuple[str, ...]: ...


def change_body(
    change: LoggedChange,
    types: Sequence[PgType],
    json_values: JsonValues,
    facts: Facts,
    readable: frozenset[str],
    select: tuple[str, ...] | None,
    max_bytes: int,
) -> str:
    """Return `data` of a change for subscribers that may read the columns `readable` and selected `select`."""
    errors = change_error(change, facts, readable)
    if errors is not None:
        return _data(change, "{}", "{}", "[]", errors, timestamp="null")
    shown = readable if select is None else readable & {*select, *facts.key}
    columns = [
        (column.name, kind) for column, kind in zip(change.relation.columns, types, strict=True) if column.name in shown
    ]
    old = change.identity
    if change.action == "DELETE" and facts.rls:
        old = {name: value for name, value in old.items() if name in facts.key}
    max_value_bytes = None
    if change.size_bytes > max_bytes:
        errors, max_value_bytes = TOO_LARGE, _MAX_VALUE_BYTES
    record, old_record = (_record(columns, values, json_values, max_value_bytes) for values in (change.record, old))
    names = ", ".join(f'{{"name": {dump(name)}, "type": {dump(kind.name)}}}' for name, kind in columns)
    listed = f"[{names}]" if columns else "null"
    return _data(change, record, old_record, listed, errors, timestamp=dump(_timestamp(change.committed_us)))


def structured_values(change: LoggedChange, types: Sequence[PgType]) -> list[tuple[PgType, str]]:
    """Return the distinct values of a change that only Postgres can convert to JSON."""
    values = (pair for row in (change.new, change.old) if row is not None for pair in zip(types, row, strict=True))
    return list(
        dict.fromkeys((kind, value) for kind, value in values if isinstance(value, str) and needs_postgres(kind, value))
    )


def postgres_changes(topic: str, body: str, ids: Iterable[int]) -> Push:
    """Return the frame of a change."""
    return Push(topic, "postgres_changes", f'{{"data":{body},"ids":{dump(list(ids))}}}')


def system(name: str, join_ref: Json, message: str, *, status: str = "error", extension: str = "system") -> Push:
    """Return the frame of a system event."""
    payload = {"message": message, "status": status, "extension": extension, "channel": name}
    return Push(TOPIC_PREFIX + name, "system", dump(payload), join_ref=join_ref)


def change_error(change: LoggedChange, facts: Facts, readable: frozenset[str]) -> str | None:
    """Return the error that replaces the values of a change for these readable columns, or None."""
    if change.action == "DELETE":
        return None
    if not facts.key:
        return NO_KEY
    return None if readable.issuperset(facts.key) else UNAUTHORIZED


def _data(
    change: LoggedChange,
    record: str,
    old_record: str,
    columns: str,
    error: str | None,
    *,
    timestamp: str,
) -> str:
    relation, action = change.relation, change.action
    parts = [f'"table":{dump(relation.name)}', f'"type":{dump(action)}']
    if action != "DELETE":
        parts.append(f'"record":{record}')
    parts += [f'"columns":{columns}', f'"errors":{dump(None if error is None else [error])}']
    parts += [f'"schema":{dump(relation.schema)}', f'"commit_timestamp":{timestamp}']
    if action != "INSERT":
        parts.append(f'"old_record":{old_record}')
    return "{" + ",".join(parts) + "}"


def _record(
    columns: Sequence[tuple[str, PgType]],
    values: Mapping[str, str | None],
    json_values: JsonValues,
    max_value_bytes: int | None,
) -> str:
    """Return a record as JSON, `null` if it is empty; with a limit, larger values and nulls are omitted."""
    rendered = {}
    for name, kind in columns:
        if name not in values:
            continue
        value = values[name]
        text = "null" if value is None else json_values.get((kind, value)) or render(kind, value)
        if max_value_bytes is None or (value is not None and len(text.encode()) <= max_value_bytes):
            rendered[name] = text
    return render_record(rendered) if rendered else "null"


def _filled(new: tuple[Value, ...], old: tuple[Value, ...] | None) -> Sequence[Value]:
    if old is None:
        return new
    return [
        previous if value is UNCHANGED and previous is not None else value
        for value, previous in zip(new, old, strict=True)
    ]


def _logged_values(relation: Relation, row: Sequence[Value]) -> dict[str, str | None]:
    pairs = zip(relation.columns, row, strict=True)
    return {column.name: value for column, value in pairs if not isinstance(value, UnchangedValue)}


def _timestamp(us: int) -> str:
    moment = datetime.fromtimestamp(us // 1_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{us // 1000 % 1000:03d}Z"

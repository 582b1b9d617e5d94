"""A mirror of the rows that one user owns, merged from live changes and reads. Pure: no I/O, no waiting."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

from smelt.contract.events import Model
from smelt.contract.rows import FileRow, RowChange, SmeltRow

Kind = Literal["insert", "update", "delete"]
Family = Literal["smelt", "smelts", "counts"]

FAMILIES: Final[tuple[Family, ...]] = ("smelt", "smelts", "counts")

TOMBSTONE_S: Final = 60.0
"""How long the id of a deleted smelt is kept at least, so that a late change or an older read does not restore it."""


class SmeltChange(Model):
    """A smelt was inserted, updated or deleted; `row` is its newest state, `before` the previous one if known."""

    kind: Kind
    row: SmeltRow
    before: SmeltRow | None = None


class FileChange(Model):
    """A file was inserted, updated or deleted; `row` is its newest state, `before` the previous one if known."""

    kind: Kind
    row: FileRow
    before: FileRow | None = None


FeedChange = SmeltChange | FileChange

Row = TypeVar("Row", SmeltRow, FileRow)


class CacheKey(NamedTuple):
    """The key of a cache entry of an app: one smelt, the list of smelts, or the counts by status."""

    family: Family
    smelt_id: UUID | None = None


def cache_keys_for(change: FeedChange) -> frozenset[CacheKey]:
    """Return the keys of the cache entries that a change invalidates."""
    if isinstance(change, FileChange):
        return frozenset({CacheKey("smelt", change.row.smelt_id)})
    keys = {CacheKey("smelt", change.row.id), CacheKey("smelts")}
    if change.before is None or change.kind != "update" or change.before.status != change.row.status:
        keys.add(CacheKey("counts"))
    return frozenset(keys)


class RowMirror:
    """All known smelts and files of a user; every `merge_*` method returns the resulting changes.

    `is_uncertain` is True if the last read may have undone a newer change; the next read decides it.
    """

    def __init__(self) -> None:
        self.is_uncertain = False
        self._deleted_at: dict[UUID, float] = {}
        self._smelts = _Table(
            SmeltRow,
            lambda kind, row, before: SmeltChange(kind=kind, row=row, before=before),
            lambda row, known: row.seq < known.seq,
            lambda row: row.id in self._deleted_at,
        )
        # File rows have no `seq`; their changes arrive in order.
        self._files = _Table(
            FileRow,
            lambda kind, row, before: FileChange(kind=kind, row=row, before=before),
            lambda row, known: False,
            lambda row: row.smelt_id in self._deleted_at,
        )

    @property
    def smelts(self) -> Mapping[UUID, SmeltRow]:
        """The smelts by id."""
        return self._smelts.rows

    @property
    def files(self) -> Mapping[UUID, FileRow]:
        """The files by id."""
        return self._files.rows

    def merge_change(self, change: RowChange) -> FeedChange | None:
        """Merge a live change; raise `ValueError` if required columns are missing."""
        match change.table:
            case "smelts":
                return self._smelts.merge_change(change)
            case "smelt_files":
                return self._files.merge_change(change)
            case _:
                return None

    def merge_deletion(self, smelt_ids: Collection[UUID], now_s: float) -> list[FeedChange]:
        """Remove smelts with their files; later changes of them are ignored for at least `TOMBSTONE_S`."""
        self._deleted_at = {one: at for one, at in self._deleted_at.items() if now_s - at < TOMBSTONE_S}
        self._deleted_at |= dict.fromkeys(smelt_ids, now_s)
        return [*self._files.remove_gone(), *self._smelts.remove_gone()]

    def start_read(self) -> None:
        """Record that a read begins: rows that change live from now on may be newer than its response."""
        self._smelts.touched.clear()
        self._files.touched.clear()

    def merge_rows(self, smelts: Sequence[SmeltRow], files: Sequence[FileRow]) -> list[FeedChange]:
        """Merge the response of a read, which contains all rows.

        Live changes that arrived meanwhile may be older: those from before the join that triggered the read. Of a file,
        which has no `seq`, a change may also be newer although the response is ahead of its smelt. The response wins,
        and `is_uncertain` is True until the next read.
        """
        known = self._smelts.rows
        ahead = {row.id for row in smelts if row.id not in known or known[row.id].seq < row.seq}
        replaced = {row.id: row for row in files if row.smelt_id in ahead and row.id in self._files.touched}
        self.is_uncertain = any(self._files.rows.get(row_id) != row for row_id, row in replaced.items())
        self._smelts.touched -= ahead
        self._files.touched -= replaced.keys()
        return [*self._smelts.merge_rows(smelts), *self._files.merge_rows(files)]


class _Table(Generic[Row]):
    def __init__(
        self,
        shape: type[Row],
        change: Callable[[Kind, Row, Row | None], FeedChange],
        is_older: Callable[[Row, Row], bool],
        is_gone: Callable[[Row], bool],
    ) -> None:
        self.rows: dict[UUID, Row] = {}
        self.touched: set[UUID] = set()
        self._shape: type[Row] = shape
        self._change: Callable[[Kind, Row, Row | None], FeedChange] = change
        self._is_older: Callable[[Row, Row], bool] = is_older
        self._is_gone: Callable[[Row], bool] = is_gone

    def merge_change(self, change: RowChange) -> FeedChange | None:
        row_id = change.row_id
        self.touched.add(row_id)
        known = self.rows.get(row_id)
        before = {} if known is None else known.model_dump()
        return self._put(self._shape.model_validate({**before, **change.record}))

    def merge_rows(self, rows: Sequence[Row]) -> list[FeedChange]:
        read = {row.id for row in rows}
        gone = [row for row_id, row in self.rows.items() if row_id not in read and row_id not in self.touched]
        changes = [self._remove(row) for row in gone]
        put = [self._put(row) for row in rows if row.id not in self.touched]
        return changes + [change for change in put if change is not None]

    def remove_gone(self) -> list[FeedChange]:
        return [self._remove(row) for row in list(self.rows.values()) if self._is_gone(row)]

    def _put(self, row: Row) -> FeedChange | None:
        known = self.rows.get(row.id)
        if self._is_gone(row) or (known is not None and (known == row or self._is_older(row, known))):
            return None
        self.rows[row.id] = row
        return self._change("insert" if known is None else "update", row, known)

    def _remove(self, row: Row) -> FeedChange:
        del self.rows[row.id]
        return self._change("delete", row, row)


class Pending:
    """Changes that a consumer has not taken yet, merged to one per row."""

    def __init__(self) -> None:
        self._changes: dict[UUID, FeedChange] = {}

    def __len__(self) -> int:
        return len(self._changes)

    def add(self, change: FeedChange) -> None:
        """Append a change, or merge it into the pending change of the same row."""
        older = self._changes.get(change.row.id)
        if older is None:
            self._changes[change.row.id] = change
        elif (merged := _merged(older, change)) is not None:
            self._changes[change.row.id] = merged
        else:
            del self._changes[change.row.id]

    def clear(self) -> None:
        """Discard all changes."""
        self._changes.clear()

    def pop(self) -> FeedChange | None:
        """Remove and return the oldest change, None if there is none."""
        return self._changes.pop(next(iter(self._changes))) if self._changes else None


def _merged(older: FeedChange, newer: FeedChange) -> FeedChange | None:
    match older.kind, newer.kind:
        case "insert", "delete":
            return None
        case "insert", _:
            return newer.model_copy(update={"kind": "insert", "before": None})
        case "delete", _:
            return newer.model_copy(update={"kind": "update", "before": older.before})
        case _:
            return newer.model_copy(update={"before": older.before})

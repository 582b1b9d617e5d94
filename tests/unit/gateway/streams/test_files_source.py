"""The files that all readers of a user share: the newest state of each, and deletions."""

from uuid import UUID

import pytest

from smelt.contract.rows import FileRow
from smelt.gateway.streams import rows as rows_module
from smelt.gateway.streams.files import FilesSource
from smelt.gateway.streams.rows import RowsSource
from smelt.subscriber.mirror import FileChange, Kind
from tests.harness.histories import NOW


def change(kind: Kind, number: int, progress: float = 0.0, before: float | None = None) -> FileChange:
    row = FileRow(
        id=UUID(int=number),
        smelt_id=UUID(int=9),
        position=0,
        filename="a.mp3",
        input_type="audio",
        size_bytes=1,
        status="processing",
        stage="transcribing",
        progress=progress,
        duration_seconds=None,
        language=None,
        error_code=None,
        error_message=None,
        created_at=NOW,
    )
    known = None if before is None else row.model_copy(update={"progress": before})
    return FileChange(kind=kind, row=row, before=known)


def after(source: RowsSource, number: int) -> list[tuple[int, float | None]]:
    changes = [kept.change for kept in source.after(number)]
    return [
        (change.row.id.int, None if change.kind == "delete" else change.row.progress)
        for change in changes
        if isinstance(change, FileChange)
    ]


def test_slow_reader_of_files_gets_the_newest_state_of_each_once() -> None:
    source = FilesSource()
    for file in (1, 2, 3):
        source.record(change("insert", file))
    assert after(source, 0) == [(1, 0.0), (2, 0.0), (3, 0.0)]
    for progress in range(1, 100):
        source.record(change("update", 1, progress, progress - 1))
    source.record(change("delete", 2))
    assert after(source, 3) == [(1, 99.0), (2, None)]
    assert after(source, 0) == [(3, 0.0), (1, 99.0)]


def test_change_that_the_stream_does_not_show_is_none() -> None:
    source = FilesSource()
    assert source.record(change("insert", 1, 5.0))
    assert not source.record(change("update", 1, 5.0, 5.0))
    assert RowsSource().record(change("update", 1, 5.0, 5.0))


def test_deletions_are_forgotten_once_every_reader_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    source = FilesSource()
    source.record(change("delete", 1))
    monkeypatch.setattr(rows_module, "TOMBSTONE_S", -1.0)
    source.record(change("delete", 2))
    assert after(source, 0) == []
    assert len(source._recorded) == 0

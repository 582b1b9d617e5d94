"""The mirror of a user's rows converges to the rows of the database, in any order of changes and reads."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.contract.rows import FileRow, RowChange, SmeltRow
from smelt.subscriber.mirror import CacheKey, FeedChange, FileChange, Pending, RowMirror, SmeltChange, cache_keys_for

IDS = [UUID(int=number) for number in range(3)]
NOW = "2026-01-01T00:00:00+00:00"


def smelt(smelt_id: UUID, seq: int = 1, **columns: Any) -> dict[str, Any]:
    empty = dict.fromkeys(
        ("batch_id", "estimated_end_at", "outcome", "error_code", "error_message", "submitted_at", "started_at")
    )
    base = {
        **empty,
        "id": str(smelt_id),
        "mode": "separate",
        "default_prompt_names": ["summarize"],
        "seq": seq,
        "run": 1,
        "status": "pending",
        "percentage": 0,
        "message": "Waiting to process...",
        "created_at": NOW,
        "completed_at": None,
    }
    return {**base, **columns}


def file(file_id: UUID, smelt_id: UUID, progress: float = 0) -> dict[str, Any]:
    return {
        **dict.fromkeys(("duration_seconds", "language", "error_code", "error_message")),
        "id": str(file_id),
        "smelt_id": str(smelt_id),
        "position": 0,
        "filename": "a.ogg",
        "input_type": "audio",
        "size_bytes": 1,
        "status": "pending",
        "stage": "pending",
        "progress": progress,
        "created_at": NOW,
    }


def changed(kind: str, row: dict[str, Any], table: str = "smelts") -> RowChange:
    return RowChange.model_validate({"table": table, "type": kind, "record": row})


def test_row_mirror_drops_an_outdated_change() -> None:
    mirror = RowMirror()
    mirror.merge_change(changed("INSERT", smelt(IDS[0], 5)))
    assert mirror.merge_change(changed("UPDATE", smelt(IDS[0], 4))) is None
    assert mirror.merge_change(changed("INSERT", smelt(IDS[0], 5))) is None
    assert mirror.smelts[IDS[0]].seq == 5


def test_row_mirror_merges_a_partial_update() -> None:
    mirror = RowMirror()
    mirror.merge_change(changed("INSERT", smelt(IDS[0])))
    change = mirror.merge_change(changed("UPDATE", {"id": str(IDS[0]), "seq": 2, "percentage": 40}))
    assert isinstance(change, SmeltChange)
    assert (change.kind, change.row.percentage, change.row.mode) == ("update", 40, "separate")
    assert change.before is not None
    with pytest.raises(ValueError, match="SmeltRow"):
        mirror.merge_change(changed("UPDATE", {"id": str(IDS[1]), "seq": 2}))
    with pytest.raises(ValueError, match="badly formed"):
        mirror.merge_change(changed("UPDATE", {}))


def test_row_mirror_ignores_a_change_of_an_unknown_table() -> None:
    assert RowMirror().merge_change(changed("INSERT", {"id": str(uuid4())}, "prompts")) is None


def test_deletion_removes_smelts_with_their_files_and_nothing_unknown() -> None:
    mirror = RowMirror()
    smelts = [SmeltRow.model_validate(smelt(one)) for one in IDS]
    files = [FileRow.model_validate(file(UUID(int=10 + place), one)) for place, one in enumerate(IDS)]
    mirror.merge_rows(smelts, files)
    changes = mirror.merge_deletion([IDS[0], IDS[2], uuid4()], 0)
    assert {(change.kind, change.row.id) for change in changes} == {
        ("delete", row.id) for row in (smelts[0], smelts[2], files[0], files[2])
    }
    assert set(mirror.smelts) == {IDS[1]}
    assert set(mirror.files) == {files[1].id}
    assert mirror.merge_deletion([IDS[0]], 1) == []


def test_deletion_tombstone_rejects_late_changes_and_reads_for_60_s() -> None:
    mirror = RowMirror()
    mirror.merge_deletion([IDS[0]], 0)
    mirror.merge_deletion([IDS[1]], 59)
    late, late_file = smelt(IDS[0], 9), file(IDS[2], IDS[0])
    assert mirror.merge_change(changed("UPDATE", late)) is None
    assert mirror.merge_change(changed("INSERT", late_file, "smelt_files")) is None
    mirror.start_read()
    assert mirror.merge_rows([SmeltRow.model_validate(late)], [FileRow.model_validate(late_file)]) == []
    mirror.merge_deletion([], 60)
    assert mirror.merge_change(changed("UPDATE", late)) is not None
    assert mirror.merge_change(changed("UPDATE", smelt(IDS[1], 9))) is None


def test_deletion_lost_is_detected_by_the_next_read() -> None:
    mirror = RowMirror()
    rows = [SmeltRow.model_validate(smelt(one)) for one in IDS[:2]]
    files = [FileRow.model_validate(file(UUID(int=10), IDS[0]))]
    mirror.merge_rows(rows, files)
    mirror.start_read()
    changes = mirror.merge_rows(rows[1:], [])
    assert [(change.kind, change.row.id) for change in changes] == [("delete", IDS[0]), ("delete", files[0].id)]


def test_row_mirror_read_does_not_undo_newer_changes() -> None:
    mirror = RowMirror()
    first, second, third = (SmeltRow.model_validate(smelt(one)) for one in IDS)
    mirror.merge_rows([first, second], [FileRow.model_validate(file(IDS[0], IDS[1]))])
    mirror.start_read()
    mirror.merge_deletion([first.id], 0)
    mirror.merge_change(changed("UPDATE", file(IDS[0], IDS[1], 50), "smelt_files"))
    mirror.merge_change(changed("INSERT", smelt(third.id)))
    assert mirror.merge_rows([first, second], [FileRow.model_validate(file(IDS[0], IDS[1], 20))]) == []
    assert set(mirror.smelts) == {second.id, third.id}
    assert mirror.files[IDS[0]].progress == 50


def test_row_mirror_read_wins_over_older_changes_that_arrive_meanwhile() -> None:
    mirror = RowMirror()
    mirror.merge_rows([SmeltRow.model_validate(smelt(IDS[0], 4))], [FileRow.model_validate(file(IDS[1], IDS[0]))])
    mirror.start_read()
    mirror.merge_change(changed("UPDATE", smelt(IDS[0], 5)))
    mirror.merge_change(changed("UPDATE", file(IDS[1], IDS[0], 50), "smelt_files"))
    newer = SmeltRow.model_validate(smelt(IDS[0], 7))
    assert len(mirror.merge_rows([newer], [FileRow.model_validate(file(IDS[1], IDS[0], 100))])) == 2
    assert mirror.smelts[IDS[0]].seq == 7
    assert mirror.files[IDS[1]].progress == 100
    assert mirror.is_uncertain  # A file has no `seq`: its change may have been newer.
    mirror.start_read()
    mirror.merge_rows([newer], [FileRow.model_validate(file(IDS[1], IDS[0], 100))])
    assert not mirror.is_uncertain


def test_row_mirror_read_reports_inserts_updates_and_deletes() -> None:
    mirror = RowMirror()
    mirror.merge_rows([SmeltRow.model_validate(smelt(one)) for one in IDS[:2]], [])
    mirror.start_read()
    changes = mirror.merge_rows([SmeltRow.model_validate(row) for row in (smelt(IDS[1], 2), smelt(IDS[2]))], [])
    assert [(change.kind, change.row.id) for change in changes] == [
        ("delete", IDS[0]),
        ("update", IDS[1]),
        ("insert", IDS[2]),
    ]


def test_cache_keys_follow_the_kind_of_change() -> None:
    row = SmeltRow.model_validate(smelt(IDS[0]))
    further = row.model_copy(update={"percentage": 5.0})
    over = row.model_copy(update={"status": "failed"})
    one, smelts, counts = CacheKey("smelt", IDS[0]), CacheKey("smelts"), CacheKey("counts")
    assert cache_keys_for(SmeltChange(kind="insert", row=row)) == {one, smelts, counts}
    assert cache_keys_for(SmeltChange(kind="update", row=further, before=row)) == {one, smelts}
    assert cache_keys_for(SmeltChange(kind="update", row=over, before=row)) == {one, smelts, counts}
    assert cache_keys_for(SmeltChange(kind="delete", row=row, before=row)) == {one, smelts, counts}
    of_file = FileRow.model_validate(file(IDS[1], IDS[0]))
    assert cache_keys_for(FileChange(kind="insert", row=of_file)) == {one}


class Consumer:
    """A consumer with a copy of the rows, kept up to date by the changes alone."""

    def __init__(self) -> None:
        self.pending = Pending()
        self.own_rows: dict[UUID, SmeltRow] = {}

    def receive(self, *changes: FeedChange | None) -> None:
        for change in changes:
            if change is not None:
                self.pending.add(change)

    def apply_pending(self) -> None:
        while (change := self.pending.pop()) is not None:
            assert isinstance(change, SmeltChange)
            assert change.before == self.own_rows.get(change.row.id)
            assert (change.kind == "insert") == (change.row.id not in self.own_rows)
            if change.kind == "delete":
                del self.own_rows[change.row.id]
            else:
                self.own_rows[change.row.id] = change.row


STEPS = st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from(["put", "delete", "read", "take"])), max_size=30)


@given(STEPS)
def test_row_mirror_consumer_of_any_speed_converges_to_the_rows(steps: list[tuple[UUID, str]]) -> None:
    mirror, consumer = RowMirror(), Consumer()
    server: dict[UUID, dict[str, Any]] = {}
    deleted: set[UUID] = set()
    for number, (smelt_id, step) in enumerate(steps):
        if step == "put":
            # A change of a deleted smelt is a late one, since ids are not reused.
            late = smelt(smelt_id, number + 1)
            if smelt_id not in deleted:
                server[smelt_id] = late
            consumer.receive(mirror.merge_change(changed("UPDATE" if smelt_id in mirror.smelts else "INSERT", late)))
        elif step == "delete" and server.pop(smelt_id, None) is not None:
            deleted.add(smelt_id)
            consumer.receive(*mirror.merge_deletion([smelt_id], number))
        elif step == "read":
            mirror.start_read()
            consumer.receive(*mirror.merge_rows([SmeltRow.model_validate(row) for row in server.values()], []))
        elif step == "take":
            consumer.apply_pending()
        assert len(consumer.pending) <= len(IDS)
    consumer.apply_pending()
    assert consumer.own_rows == mirror.smelts
    assert {one: row.seq for one, row in mirror.smelts.items()} == {one: row["seq"] for one, row in server.items()}

"""The rows that a user owns end up as they are, whatever comes between."""

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
    owned = RowMirror()
    owned.merge_change(changed("INSERT", smelt(IDS[0], 5)))
    assert owned.merge_change(changed("UPDATE", smelt(IDS[0], 4))) is None
    assert owned.merge_change(changed("INSERT", smelt(IDS[0], 5))) is None
    assert owned.smelts[IDS[0]].seq == 5


def test_row_mirror_merges_a_partial_update() -> None:
    owned = RowMirror()
    owned.merge_change(changed("INSERT", smelt(IDS[0])))
    change = owned.merge_change(changed("UPDATE", {"id": str(IDS[0]), "seq": 2, "percentage": 40}))
    assert isinstance(change, SmeltChange)
    assert (change.kind, change.row.percentage, change.row.mode) == ("update", 40, "separate")
    assert change.before is not None
    with pytest.raises(ValueError, match="SmeltRow"):
        owned.merge_change(changed("UPDATE", {"id": str(IDS[1]), "seq": 2}))
    with pytest.raises(ValueError, match="badly formed"):
        owned.merge_change(changed("UPDATE", {}))


def test_a_change_of_a_foreign_table_is_nothing() -> None:
    assert RowMirror().merge_change(changed("INSERT", {"id": str(uuid4())}, "prompts")) is None


def test_deletion_removes_smelts_with_their_files_and_nothing_unknown() -> None:
    owned = RowMirror()
    smelts = [SmeltRow.model_validate(smelt(one)) for one in IDS]
    files = [FileRow.model_validate(file(UUID(int=10 + place), one)) for place, one in enumerate(IDS)]
    owned.merge_rows(smelts, files)
    told = owned.merge_deletion([IDS[0], IDS[2], uuid4()], 0)
    assert {(change.kind, change.row.id) for change in told} == {
        ("delete", row.id) for row in (smelts[0], smelts[2], files[0], files[2])
    }
    assert set(owned.smelts) == {IDS[1]}
    assert set(owned.files) == {files[1].id}
    assert owned.merge_deletion([IDS[0]], 1) == []


def test_deletion_leaves_a_tombstone_for_60_s_that_late_changes_and_reads_do_not_pass() -> None:
    owned = RowMirror()
    owned.merge_deletion([IDS[0]], 0)
    owned.merge_deletion([IDS[1]], 59)
    late, late_file = smelt(IDS[0], 9), file(IDS[2], IDS[0])
    assert owned.merge_change(changed("UPDATE", late)) is None
    assert owned.merge_change(changed("INSERT", late_file, "smelt_files")) is None
    owned.start_read()
    assert owned.merge_rows([SmeltRow.model_validate(late)], [FileRow.model_validate(late_file)]) == []
    owned.merge_deletion([], 60)
    assert owned.merge_change(changed("UPDATE", late)) is not None
    assert owned.merge_change(changed("UPDATE", smelt(IDS[1], 9))) is None


def test_a_lost_deletion_is_found_by_the_next_read() -> None:
    owned = RowMirror()
    rows = [SmeltRow.model_validate(smelt(one)) for one in IDS[:2]]
    files = [FileRow.model_validate(file(UUID(int=10), IDS[0]))]
    owned.merge_rows(rows, files)
    owned.start_read()
    told = owned.merge_rows(rows[1:], [])
    assert [(change.kind, change.row.id) for change in told] == [("delete", IDS[0]), ("delete", files[0].id)]


def test_row_mirror_read_does_not_undo_newer_changes() -> None:
    owned = RowMirror()
    first, second, third = (SmeltRow.model_validate(smelt(one)) for one in IDS)
    owned.merge_rows([first, second], [FileRow.model_validate(file(IDS[0], IDS[1]))])
    owned.start_read()
    owned.merge_deletion([first.id], 0)
    owned.merge_change(changed("UPDATE", file(IDS[0], IDS[1], 50), "smelt_files"))
    owned.merge_change(changed("INSERT", smelt(third.id)))
    assert owned.merge_rows([first, second], [FileRow.model_validate(file(IDS[0], IDS[1], 20))]) == []
    assert set(owned.smelts) == {second.id, third.id}
    assert owned.files[IDS[0]].progress == 50


def test_row_mirror_read_reports_inserts_updates_and_deletes() -> None:
    owned = RowMirror()
    owned.merge_rows([SmeltRow.model_validate(smelt(one)) for one in IDS[:2]], [])
    owned.start_read()
    told = owned.merge_rows([SmeltRow.model_validate(row) for row in (smelt(IDS[1], 2), smelt(IDS[2]))], [])
    assert [(change.kind, change.row.id) for change in told] == [
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
    """A copy of its own of the rows, kept by the changes alone, taken whenever it likes."""

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
    owned, consumer = RowMirror(), Consumer()
    server: dict[UUID, dict[str, Any]] = {}
    deleted: set[UUID] = set()
    for number, (smelt_id, step) in enumerate(steps):
        if step == "put":
            # A change of a smelt that is deleted already comes late; its id is never used again.
            late = smelt(smelt_id, number + 1)
            if smelt_id not in deleted:
                server[smelt_id] = late
            consumer.receive(owned.merge_change(changed("UPDATE" if smelt_id in owned.smelts else "INSERT", late)))
        elif step == "delete" and server.pop(smelt_id, None) is not None:
            deleted.add(smelt_id)
            consumer.receive(*owned.merge_deletion([smelt_id], number))
        elif step == "read":
            owned.start_read()
            consumer.receive(*owned.merge_rows([SmeltRow.model_validate(row) for row in server.values()], []))
        elif step == "take":
            consumer.apply_pending()
        assert len(consumer.pending) <= len(IDS)
    consumer.apply_pending()
    assert consumer.own_rows == owned.smelts
    assert {one: row.seq for one, row in owned.smelts.items()} == {one: row["seq"] for one, row in server.items()}

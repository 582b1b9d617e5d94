"""The cost of a purge does not grow with the number of stored smelts."""

from typing import Final

from tests.integration.database.db_calls import Caller, Database

STORED: Final = 20_000

SEED: Final = (
    """
with smelts as (
    insert into public.smelts (is_anonymous, status, audio_state)
    select true, 'pending', 'expected' from generate_series(1, %s) returning id
), files as (
    insert into public.smelt_files (smelt_id, position, filename, input_type, size_bytes, upload_path)
    select s.id, 0, 'a.mp3', 'audio', 1, s.id || '/' || gen_random_uuid() || '/a.mp3' from smelts as s
    returning upload_path
)
insert into storage.objects (bucket_id, name) select 'smelt-audio', f.upload_path from files as f
""",
    """
update public.smelts
set status = 'failed', error_code = 'internal_error', error_message = 'x', audio_state = 'stored',
    submitted_at = now() - interval '20 h', completed_at = now() - random() * interval '20 h'
where id in (select id from public.smelts limit %s)
""",
    """
insert into public.smelts (is_anonymous, status, percentage, outcome, audio_state, submitted_at, completed_at)
select
    true, 'completed', 100, 'complete', 'removed', now() - interval '20 h', now() - random() * interval '20 h'
from generate_series(1, %s)
""",
)


def test_purge_reads_only_expired_smelts_by_index(database: Database, worker: Caller) -> None:
    for statement in SEED:
        database.run(statement, STORED)
    # With statistics or without them.
    for statement in ("select", "analyze"):
        database.run(statement)
        with worker.open_transaction():
            assert worker.call_in_transaction("list_expired_smelts", worker_id="janitor") == {
                "objects": [],
                "smelts": [],
            }
            worker.session.execute("reset role")
            counts = worker.session.execute(
                "select seq_scan, idx_tup_fetch from pg_stat_xact_user_tables where relname = 'smelts'"
            ).fetchone()
        assert counts is not None
        seq_scan_count, fetched_count = counts
        assert seq_scan_count == 0
        # One page of objects with their smelts, not all stored ones.
        assert fetched_count < STORED / 4

"""The cost of a purge does not grow with the number of stored smelts."""

from typing import Final

from db_calls import Caller, Database

STORED: Final = 20_000

SEED: Final = """
with smelts as (
    insert into public.smelts (
        is_anonymous, status, percentage, outcome, error_code, error_message, audio_state, submitted_at, completed_at
    )
    select
        true, kind.status, kind.percentage, kind.outcome, kind.error_code, kind.error_code, kind.audio_state,
        now() - interval '20 h', now() - random() * interval '20 h'
    from generate_series(1, %s) as n
    cross join (values
        ('completed', 100, 'complete', null, 'removed'),
        ('failed', 0, null, 'internal_error', 'stored')
    ) as kind (status, percentage, outcome, error_code, audio_state)
    returning id, audio_state
), files as (
    insert into public.smelt_files (smelt_id, position, filename, input_type, size_bytes, upload_path)
    select s.id, 0, 'a.mp3', 'audio', 1, s.id || '/' || gen_random_uuid() || '/a.mp3' from smelts as s
    returning smelt_id, upload_path
)
insert into storage.objects (bucket_id, name)
select 'smelt-audio', f.upload_path from files as f join smelts as s on s.id = f.smelt_id where s.audio_state = 'stored'
"""


def test_purge_reads_only_expired_smelts_by_index(database: Database, worker: Caller) -> None:
    database.run(SEED, STORED)
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

"""Thousands of smelts, inserted directly: calls of `create_smelt` would take too long."""

from tests.integration.database.db_calls import Database

WAITING = """
    with numbered as materialized (
        select n, gen_random_uuid() as id, (%(users)s::uuid[])[(n - 1) %% cardinality(%(users)s) + 1] as user_id
        from generate_series(1, %(count)s) as n
    ), smelts as (
        insert into public.smelts (
            id, user_id, is_anonymous, batch_id, audio_state, submitted_at, claimable_at, queue_rank, options
        )
        select
            id, user_id, user_id is null, %(batch)s::uuid, 'none', now(), now() - interval '1 h' + n * interval '1 ms',
            (n - 1) / cardinality(%(users)s) + 1,
            jsonb_strip_nulls(jsonb_build_object('model', %(model)s::text))
        from numbered
    ), files as (
        insert into public.smelt_files (smelt_id, user_id, position, filename, input_type, size_bytes)
        select id, user_id, 0, 'text', 'text', 4 from numbered
    )
    insert into smelt.requests (smelt_id, user_id, fingerprint, text_input)
    select id, user_id, '', 'text' from numbered
    returning smelt_id::text
"""

ENDED = """
    insert into public.smelts (
        user_id, is_anonymous, batch_id, attempt, status, percentage, message, outcome, audio_state, submitted_at,
        started_at, completed_at
    )
    select
        %(user)s, %(anonymous)s, %(batch)s, 1, 'completed', 100, 'Complete', 'complete', 'removed', now(), now(), now()
    from generate_series(1, %(count)s)
"""

KEPT = """
    insert into public.smelts (
        user_id, attempt, status, percentage, message, outcome, audio_state, submitted_at, started_at, completed_at,
        audio_kept_until, options
    )
    select
        %s, 1, 'completed', 100, 'Complete', 'complete', 'stored', now(), now(), now() - interval '25 h',
        now() + interval '1 h', '{"keep_audio_h": 26}'
    from generate_series(1, %s)
"""


def insert_waiting(
    database: Database, users: list[str | None], count: int, *, batch_id: str | None = None, model: str | None = None
) -> list[str]:
    """Insert due texts of these users in turn, None for a visitor, with the ranks of the turns; return their ids."""
    values = {"users": users, "count": count, "batch": batch_id, "model": model}
    rows = database.owner.execute(WAITING, values).fetchall()
    return [smelt for (smelt,) in rows]


def insert_ended(
    database: Database, user: str | None, count: int, *, is_anonymous: bool = False, batch_id: str | None = None
) -> None:
    """Insert completed smelts of a user, ended now."""
    values = {"user": user, "anonymous": is_anonymous, "batch": batch_id, "count": count}
    database.owner.execute(ENDED, values)


def insert_kept(database: Database, user: str | None, count: int) -> None:
    """Insert smelts that were completed a day ago, and whose audio is kept for another hour."""
    database.owner.execute(KEPT, (user, count))


def pages_read(database: Database, statement: str, *values: object, warm_calls: int = 3) -> int:
    """Return the number of pages that a statement reads, after earlier calls of its session; then undo it."""
    with database.owner.transaction(force_rollback=True):
        for _ in range(warm_calls):
            database.value(statement, *values)
        [plan] = database.value(f"explain (analyze, buffers, format json) {statement}", *values)
    pages: int = plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
    return pages

"""Rows of a queue in bulk: users, finished and waiting smelts, and the members of a batch."""

from datetime import timedelta
from uuid import UUID

from psycopg import AsyncConnection

# Tables that a claim or a snapshot reads; they are vacuumed after a fill, so that no measurement begins with dead rows.
TABLES = (
    "public.smelts", "public.smelt_files", "public.smelt_results", "public.smelt_batches", "public.smelt_notifications",
    "smelt.requests", "smelt.leases", "smelt.attempts", "smelt.outbox",
)  # fmt: skip

WAITING = """
with numbered as materialized (
    select gen_random_uuid() as id, n, (%(users)s::uuid[])[1 + (n - 1) %% cardinality(%(users)s::uuid[])] as owner
    from generate_series(1, %(count)s::integer) as n
), inserted_smelts as (
    insert into public.smelts (id, user_id, is_anonymous, audio_state, submitted_at, claimable_at {column})
    select id, owner, owner is null, 'none', now(), now() - %(age)s + n * interval '1 microsecond' {value}
    from numbered
), inserted_files as (
    insert into public.smelt_files (smelt_id, user_id, position, filename, input_type, size_bytes)
    select id, owner, 0, 'text', 'text', 5 from numbered
)
insert into smelt.requests (smelt_id, user_id, fingerprint, text_input)
select id, owner, '', 'A text.' from numbered
returning smelt_id
"""

FINISHED = """
with numbered as materialized (
    select
        gen_random_uuid() as id, gen_random_uuid() as file_id, n,
        (%(users)s::uuid[])[1 + (n - 1) %% cardinality(%(users)s::uuid[])] as owner
    from generate_series(1, %(count)s::integer) as n
), inserted_smelts as (
    insert into public.smelts (
        id, user_id, is_anonymous, batch_id, attempt, seq, status, percentage, message, outcome, audio_state,
        created_at, submitted_at, started_at, completed_at
    )
    select
        id, owner, n %% 2 = 0, %(batch)s, 1, 3, 'completed', 100, 'Completed', 'complete', 'none',
        now() - interval '1 hour', now(), now(), now()
    from numbered
), inserted_files as (
    insert into public.smelt_files (
        id, smelt_id, user_id, position, filename, input_type, size_bytes, status, stage, progress
    )
    select file_id, id, owner, 0, 'text', 'text', 5, 'completed', 'completed', 100 from numbered
), inserted_attempts as (
    insert into smelt.attempts (smelt_id, attempt, run, worker_id, host, claimed_at, ended_at, ended_as, response)
    select id, 1, 1, 'bench', 'bench', now(), now(), 'settled', '{}' from numbered
), inserted_results as (
    insert into public.smelt_results (smelt_id, run, file_id, position, filename, content)
    select id, 1, file_id, 0, 'text', 'Notes' from numbered
)
insert into smelt.requests (smelt_id, user_id, fingerprint, text_input)
select id, owner, '', 'A text.' from numbered
"""

# A schema with this column claims in its order; the users take turns.
RANK = "(n - 1) / cardinality(%(users)s::uuid[]) + 1"


class Rows:
    """Fills and empties the tables of a smelt project as its superuser.

    Rows are inserted directly: 100,000 calls of `create_smelt` would take minutes, and a message to the workers each.
    """

    def __init__(self, database: AsyncConnection) -> None:
        self._database = database

    async def add_users(self, count: int) -> list[UUID]:
        """Insert users; return their ids."""
        found = await self._database.execute(
            "insert into auth.users (email) select gen_random_uuid() || '@example.com' from generate_series(1, %s)"
            " returning id",
            [count],
        )
        return [row[0] for row in await found.fetchall()]

    async def lift_limits(self) -> None:
        """Raise the limit of open smelts, as an operator may, beyond what is measured."""
        await self._database.execute("update smelt.limits set max_open = 1000000, anonymous_max_open = 1000000")

    async def add_waiting(self, count: int, users: list[UUID | None], *, age_s: float = 60) -> list[UUID]:
        """Insert due texts of these users in turn, which became due `age_s` seconds ago; return their ids."""
        column, value = (", queue_rank", f", {RANK}") if await self._has_ranks() else ("", "")
        found = await self._database.execute(
            WAITING.format(column=column, value=value),
            {"users": users, "count": count, "age": timedelta(seconds=age_s)},
        )
        return [row[0] for row in await found.fetchall()]

    async def add_finished(self, count: int, users: list[UUID], *, batch: UUID | None = None) -> None:
        """Insert completed texts of these users in turn; every second one is anonymous."""
        await self._database.execute(FINISHED, {"users": users, "count": count, "batch": batch})

    async def add_batch(self, user: UUID, members: int) -> UUID:
        """Insert a batch with completed members and their counts."""
        found = await self._database.execute(
            "insert into public.smelt_batches (user_id) values (%s) returning id", [user]
        )
        [[batch]] = await found.fetchall()
        await self.add_finished(members, [user], batch=batch)
        if members:
            await self._database.execute(
                "update public.smelt_batches set total = %(n)s, completed = %(n)s, progress = 100,"
                " status = 'completed' where id = %(batch)s",
                {"n": members, "batch": batch},
            )
        return UUID(str(batch))

    async def expect_members(self, batch: UUID, count: int) -> None:
        """End the program if a batch does not count this many members, all completed."""
        found = await self._database.execute(
            "select total, completed, status from public.smelt_batches where id = %s", [batch]
        )
        counts = await found.fetchone()
        if counts != (count, count, "completed"):
            raise SystemExit(f"a batch counts {counts} instead of {count} completed members: `add_batch` is outdated")

    async def delete(self, smelt_ids: list[UUID]) -> None:
        """Delete smelts."""
        await self._database.execute("delete from public.smelts where id = any (%s)", [smelt_ids])

    async def clear_outbox(self) -> None:
        """Delete unsent events, which a worker sends and settles after each smelt."""
        await self._database.execute("delete from smelt.outbox")

    async def vacuum(self) -> None:
        """Remove dead rows, update the statistics of the planner, and write what is dirty, before a measurement."""
        await self._database.execute(f"vacuum (analyze) {', '.join(TABLES)}")
        await self._database.execute("checkpoint")

    async def waiting(self, count: int) -> list[tuple[UUID, int, UUID]]:
        """Return id, `seq` and owner of the waiting smelts that became due last."""
        found = await self._database.execute(
            "select id, seq, user_id from public.smelts where claimable_at is not null order by claimable_at desc"
            " limit %s",
            [count],
        )
        return await found.fetchall()

    async def finished(self, count: int) -> list[UUID]:
        """Return the ids of finished smelts."""
        found = await self._database.execute(
            "select id from public.smelts where status = 'completed' order by id limit %s", [count]
        )
        return [row[0] for row in await found.fetchall()]

    async def _has_ranks(self) -> bool:
        found = await self._database.execute(
            "select exists (select from information_schema.columns where table_schema = 'public'"
            " and table_name = 'smelts' and column_name = 'queue_rank')"
        )
        [[has_ranks]] = await found.fetchall()
        return bool(has_ranks)

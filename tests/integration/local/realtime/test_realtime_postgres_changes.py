"""postgres_changes beyond the recordings: callers, changes of the publication, many rows, a crash."""

import asyncio

import psycopg
from psycopg_pool import AsyncConnectionPool

from smelt.local.database.postgres import SUPERUSER, Postgres
from smelt.local.realtime.authorization import Pool
from smelt.local.realtime.commits import Commits
from tests.harness.waiting import until
from tests.integration.local.realtime.realtime_server import USER_A, USER_B, RealtimeServer, serving
from tests.integration.local.realtime.sockets import raw_socket

NOTES = {"event": "*", "schema": "public", "table": "notes"}
TODOS = {"event": "*", "schema": "public", "table": "todos"}
POLLING = "select pid from pg_stat_activity where query like '%pg_snapshot_xip%' and pid <> pg_backend_pid()"
WAITING_FOR_LOCK = "select pid from pg_stat_activity where wait_event_type = 'Lock'"


async def test_postgres_changes_of_protocol_v1_take_the_table_from_the_topic(realtime: RealtimeServer) -> None:
    """Legacy clients send no config and a `user_token`, and receive changes as events named after the action."""
    async with raw_socket(realtime) as socket:
        ref = await socket.send("realtime:public:todos", "phx_join", {"user_token": realtime.token(USER_A)})
        await socket.next("phx_reply", ref=ref)
        await socket.next("system")
        await realtime.sql(f"insert into todos (user_id, title) values ('{USER_A}', 'mine')")
        change = await socket.next("INSERT")
        assert (change["topic"], change["payload"]["record"]["title"]) == ("realtime:public:todos", "mine")


async def test_postgres_changes_omit_truncate(realtime: RealtimeServer) -> None:
    async with raw_socket(realtime) as socket:
        await socket.subscribe("n", NOTES)
        await realtime.sql("insert into notes (id) values (1); truncate notes; insert into notes (id) values (2)")
        ids = [(await socket.next("postgres_changes"))["payload"]["data"]["record"]["id"] for _ in range(2)]
        assert ids == [1, 2]


async def test_postgres_changes_old_record_follows_the_replica_identity_index(realtime: RealtimeServer) -> None:
    """The old record has the columns of the index; under row level security, only those of the key."""
    await realtime.sql("""
        alter table notes alter body set not null;
        create unique index notes_body on notes (body);
        alter table notes replica identity using index notes_body
    """)
    async with raw_socket(realtime) as socket:
        await socket.subscribe("n", NOTES)
        await realtime.sql("insert into notes (id, body) values (1, 'a')")
        await realtime.sql("update notes set body = 'b'")
        await realtime.settle()
        await realtime.sql("alter table notes enable row level security; delete from notes")
        changes = [(await socket.next("postgres_changes"))["payload"]["data"] for _ in range(3)]
        assert [change.get("old_record") for change in changes] == [None, {"body": "a"}, None]
        assert "old_record" in changes[2]


async def test_postgres_changes_under_rls_hide_a_deleted_row_without_a_key(realtime: RealtimeServer) -> None:
    await realtime.sql("alter table nopk enable row level security; insert into nopk values (1, 'secret')")
    async with raw_socket(realtime) as socket:
        await socket.subscribe("k", {**NOTES, "table": "nopk"})
        await realtime.sql("delete from nopk")
        assert (await socket.next("postgres_changes"))["payload"]["data"]["old_record"] is None


async def test_postgres_changes_under_rls_reach_only_permitted_users(realtime: RealtimeServer) -> None:
    async with raw_socket(realtime) as a, raw_socket(realtime) as b, raw_socket(realtime) as anonymous:
        await a.subscribe("t", TODOS, token=realtime.token(USER_A))
        await b.subscribe("t", TODOS, token=realtime.token(USER_B))
        await anonymous.subscribe("t", TODOS)
        for user in (USER_A, USER_B):
            await realtime.sql(f"insert into todos (user_id, title) values ('{user}', 'mine')")
        await realtime.settle()
        for socket, user in ((a, USER_A), (b, USER_B)):
            (change,) = await socket.rest()
            assert change["payload"]["data"]["record"]["user_id"] == user
        assert await anonymous.rest() == []


async def test_postgres_changes_under_a_failing_policy_affect_no_other_client(realtime: RealtimeServer) -> None:
    await realtime.sql("create policy boom on todos for select to anon using (1 / (length(title) - 4) = 0)")
    async with raw_socket(realtime) as anonymous, raw_socket(realtime) as a:
        await anonymous.subscribe("t", TODOS)
        await a.subscribe("t", TODOS, token=realtime.token(USER_A))
        await realtime.sql(f"insert into todos (user_id, title) values ('{USER_A}', 'boom')")
        change = await a.next("postgres_changes")
        assert change["payload"]["data"]["record"]["title"] == "boom"
        await realtime.settle()
        assert await anonymous.rest() == []


async def test_postgres_changes_without_select_privilege_send_an_error(realtime: RealtimeServer) -> None:
    await realtime.sql("revoke select on colpriv from anon, authenticated")
    async with raw_socket(realtime) as socket:
        await socket.subscribe("c", {**NOTES, "table": "colpriv"})
        await realtime.sql("insert into colpriv values (1, 'pub', 'secret')")
        data = (await socket.next("postgres_changes"))["payload"]["data"]
        assert (data["errors"], data["record"]) == (["Error 401: Unauthorized"], {})


async def test_postgres_changes_errors_are_sent_regardless_of_filter_and_rls(realtime: RealtimeServer) -> None:
    """An error contains no values, so it is sent even if the filter does not match or the row is hidden."""
    await realtime.sql("revoke select (id) on colpriv from anon; alter table colpriv enable row level security")
    async with raw_socket(realtime) as socket:
        await socket.subscribe("c", {**NOTES, "table": "colpriv", "event": "INSERT", "filter": "pub=eq.other"})
        await socket.subscribe("k", {**NOTES, "table": "nopk", "event": "INSERT", "filter": "id=eq.2"})
        await realtime.sql("insert into colpriv values (1, 'pub', 'secret'); insert into nopk values (1, 'x')")
        errors = [(await socket.next("postgres_changes"))["payload"]["data"]["errors"] for _ in range(2)]
        assert errors == [["Error 401: Unauthorized"], ["Error 400: Bad Request, no primary key"]]


async def test_postgres_changes_without_column_privileges_send_no_columns(realtime: RealtimeServer) -> None:
    await realtime.sql("insert into colpriv values (1, 'pub', 'secret'); revoke all on colpriv from anon")
    async with raw_socket(realtime) as socket:
        await socket.subscribe("c", {**NOTES, "table": "colpriv"})
        await realtime.sql("delete from colpriv")
        data = (await socket.next("postgres_changes"))["payload"]["data"]
        assert (data["errors"], data["columns"], data["old_record"]) == (None, None, None)


async def test_postgres_changes_are_sent_to_every_channel_of_a_socket(realtime: RealtimeServer) -> None:
    async with raw_socket(realtime) as socket:
        for name in ("one", "two"):
            await socket.subscribe(name, NOTES)
        await realtime.sql("insert into notes (body) values ('x')")
        frames = [await socket.next("postgres_changes") for _ in range(2)]
        assert {frame["topic"] for frame in frames} == {"realtime:one", "realtime:two"}


async def test_postgres_changes_of_one_transaction_keep_their_order(realtime: RealtimeServer) -> None:
    async with raw_socket(realtime) as socket:
        await socket.subscribe("n", NOTES)
        await realtime.sql("insert into notes (id, body) select n, 'x' from generate_series(1, 500) n")
        ids = [(await socket.next("postgres_changes"))["payload"]["data"]["record"]["id"] for _ in range(500)]
        assert ids == list(range(1, 501))


async def test_postgres_changes_follow_an_altered_table(realtime: RealtimeServer) -> None:
    async with raw_socket(realtime) as socket:
        await socket.subscribe("n", NOTES)
        await realtime.sql("alter table notes add column extra int default 7; insert into notes (body) values ('x')")
        data = (await socket.next("postgres_changes"))["payload"]["data"]
        assert data["record"]["extra"] == 7
        assert {"name": "extra", "type": "int4"} in data["columns"]


async def test_postgres_changes_follow_an_altered_publication(realtime_postgres: Postgres) -> None:
    """Subscriptions are renewed with a system event; changes of a removed table are no longer sent."""
    async with (
        serving(realtime_postgres, publication_check_interval_s=0.05) as realtime,
        raw_socket(realtime) as socket,
    ):
        await socket.subscribe("n", NOTES)
        await realtime.sql("alter publication supabase_realtime add table unpublished")
        assert (await socket.next("system"))["payload"]["message"] == "Subscribed to PostgreSQL"
        await realtime.sql("alter publication supabase_realtime drop table notes")
        message = await socket.next("system")
        assert message["payload"]["status"] == "error"
        await realtime.sql("insert into notes (body) values ('x')")
        await realtime.settle()
        assert [frame["event"] for frame in await socket.rest()] == []


async def test_replication_slot_is_dropped_when_the_server_stops(realtime_postgres: Postgres) -> None:
    async def slots() -> int:
        async with await psycopg.AsyncConnection.connect(realtime_postgres.dsn(SUPERUSER)) as connection:
            return len(await (await connection.execute("select from pg_replication_slots")).fetchall())

    async def none() -> bool:
        return await slots() == 0

    await until(none)
    async with serving(realtime_postgres):
        assert await slots() == 1
    await until(none)


async def test_reconnect_to_a_crashed_postgres_keeps_sockets_and_channels(realtime_postgres: Postgres) -> None:
    """Sockets stay open and channels joined; later commits are published again."""
    async with serving(realtime_postgres) as realtime, raw_socket(realtime) as socket:
        await socket.subscribe("n", NOTES)
        await socket.join("db")
        await realtime.crash_postgres()
        await until(realtime.realtime.wait_ready)
        await realtime.sql("insert into notes (body) values ('after')")
        assert (await socket.next("postgres_changes"))["payload"]["data"]["record"]["body"] == "after"
        await realtime.sql("select realtime.send('{\"after\": true}', 'e', 'db', false)")
        assert (await socket.next("broadcast"))["payload"]["payload"]["after"] is True
        assert (await socket.join("p", token=realtime.token(USER_A), private=True))["status"] == "error"


async def test_postgres_changes_are_sent_although_the_check_of_visibility_loses_its_connection(
    realtime: RealtimeServer,
) -> None:
    async def connect() -> psycopg.AsyncConnection:
        return await psycopg.AsyncConnection.connect(realtime.dsn, autocommit=True)

    async with await connect() as writer, await connect() as locker, await connect() as admin:

        async def waiting_for_lock() -> list[int]:
            return [pid for (pid,) in await (await admin.execute(WAITING_FOR_LOCK)).fetchall()]

        async with raw_socket(realtime) as socket:
            await socket.subscribe("t", TODOS, token=realtime.token(USER_A))
            async with writer.transaction():
                await writer.execute("insert into public.todos (user_id, title) values (%s, 'mine')", [USER_A])
                locking = asyncio.create_task(locker.execute("begin; lock table public.todos"))
                await until(waiting_for_lock)
            await locking
            # The check of visibility waits for the lock.
            await until(waiting_for_lock)
            await admin.execute("select pg_terminate_backend(pid) from unnest(%s) as pid", [await waiting_for_lock()])
            await locker.execute("rollback")
            change = await socket.next("postgres_changes")
            assert change["payload"]["data"]["record"]["title"] == "mine"


async def test_commit_is_awaited_although_the_connection_is_lost(realtime_postgres: Postgres) -> None:
    """A change that is published before its commit is visible would be hidden by row level security."""
    dsn = realtime_postgres.dsn(SUPERUSER)
    pool: Pool = AsyncConnectionPool(
        dsn, kwargs={"autocommit": True}, min_size=1, open=False, check=AsyncConnectionPool.check_connection
    )
    connecting = [psycopg.AsyncConnection.connect(dsn, autocommit=True) for _ in range(2)]
    async with pool, await connecting[0] as writer, await connecting[1] as admin:

        async def polling() -> set[int]:
            return {pid for (pid,) in await (await admin.execute(POLLING)).fetchall()}

        async with writer.transaction():
            row = await (await writer.execute("select pg_current_xact_id()::text::int8 & 4294967295")).fetchone()
            assert row is not None
            waiting = asyncio.create_task(Commits(pool).visible(row[0]))
            await until(polling)
            first = await polling()
            await admin.execute("select pg_terminate_backend(pid) from unnest(%s) as pid", [list(first)])

            async def polls_again() -> bool:
                return waiting.done() or bool(await polling() - first)

            await until(polls_again)
            assert not waiting.done()
        await waiting


async def test_reconnect_after_a_lost_slot_disconnects_the_sockets(realtime_postgres: Postgres) -> None:
    """Changes between the slots are lost, so clients must join and read again."""
    async with serving(realtime_postgres) as realtime, raw_socket(realtime) as socket:
        await socket.subscribe("n", NOTES)
        await realtime.sql(
            "select pg_terminate_backend(pid) from pg_stat_replication; insert into notes (body) values ('in between')"
        )
        assert (await socket.next("system"))["payload"]["message"] == "Server requested disconnect"
        await asyncio.wait_for(socket.socket.wait_closed(), 30)
        assert realtime.realtime.is_replicating
        async with raw_socket(realtime) as again:
            await again.subscribe("n", NOTES)
            await realtime.sql("insert into notes (body) values ('after')")
            assert (await again.next("postgres_changes"))["payload"]["data"]["record"]["body"] == "after"

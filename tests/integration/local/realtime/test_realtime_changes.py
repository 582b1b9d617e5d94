"""postgres_changes beyond the recordings: filters, callers, a publication that changes, many rows, a crash."""

import psycopg
import pytest
from realtime_server import USER_A, USER_B, RealtimeServer, eventually, serving
from sockets import raw_socket

from smelt.local.postgres import SUPERUSER, Postgres

NOTES = {"event": "*", "schema": "public", "table": "notes"}
TODOS = {"event": "*", "schema": "public", "table": "todos"}
TYPES = {"event": "INSERT", "schema": "public", "table": "types_t"}


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("c_int4=eq.5", [5]),
        ("c_int4=neq.5", [7, 10]),
        ("c_int4=lt.7", [5]),
        ("c_int4=lte.7", [5, 7]),
        ("c_int4=gt.7", [10]),
        ("c_int4=gte.7", [7, 10]),
        ("c_int4=in.(5,10)", [5, 10]),
        ("c_int4=not.in.(5,10)", [7]),
        ("c_int4=not.eq.5", [7, 10]),
        ("c_text=like.a%", [5, 7]),
        ("c_text=ilike.AB%", [7]),
        ("c_text=match.^[ab]$", [5]),
        ("c_text=imatch.^AB", [7]),
        ("c_text=not.like.a%", [10]),
        ("c_text=isdistinct.a", [7, 10]),
        ("c_text=gt.b", [10]),
        ("c_bool=is.null", [10]),
        ("c_bool=not.is.null", [5, 7]),
        ("c_bool=is.true", [5]),
        ("c_bool=eq.false", [7]),
        ("c_numeric=eq.1.50", [5]),
        ("c_numeric=gt.1.5", [7]),
        ("c_tstz=gte.2026-01-02T00:00:00%2B01:00", [7]),
        ("c_enum=eq.ok", [7]),
        ('c_jsonb=eq.{"a":1}', [5]),
        ("c_uuidarr=eq.{}", [5]),
        ("c_int4=gt.5,c_text=like.a%", [7]),
    ],
)
async def test_a_filter_keeps_to_its_operator(realtime: RealtimeServer, condition: str, told: list[int]) -> None:
    async with raw_socket(realtime) as socket:
        await socket.subscribe("f", {**TYPES, "filter": condition.replace("%2B", "+")})
        await realtime.sql("""
            insert into types_t (id, c_int4, c_text, c_bool, c_numeric, c_tstz, c_enum, c_jsonb, c_uuidarr) values
            (gen_random_uuid(), 5, 'a', true, 1.5, '2026-01-01', 'sad', '{"a": 1}', '{}'),
            (gen_random_uuid(), 7, 'ab', false, 2.5, '2026-01-02', 'ok', '{"a": 2}', null),
            (gen_random_uuid(), 10, 'c', null, null, null, null, null, null)
        """)
        await realtime.settle()
        changes = [frame["payload"]["data"]["record"]["c_int4"] for frame in await socket.rest()]
        assert changes == told


async def test_each_caller_is_told_what_is_theirs(realtime: RealtimeServer) -> None:
    async with raw_socket(realtime) as a, raw_socket(realtime) as b, raw_socket(realtime) as anonymous:
        await a.subscribe("t", TODOS, token=realtime.token(USER_A))
        await b.subscribe("t", TODOS, token=realtime.token(USER_B))
        await anonymous.subscribe("t", TODOS)
        for user in (USER_A, USER_B):
            await realtime.sql(f"insert into todos (user_id, title) values ('{user}', 'mine')")
        await realtime.settle()
        for socket, user in ((a, USER_A), (b, USER_B)):
            (told,) = await socket.rest()
            assert told["payload"]["data"]["record"]["user_id"] == user
        assert await anonymous.rest() == []


async def test_a_policy_that_fails_shows_nothing_and_harms_nobody(realtime: RealtimeServer) -> None:
    await realtime.sql("create policy boom on todos for select to anon using (1 / (length(title) - 4) = 0)")
    async with raw_socket(realtime) as anonymous, raw_socket(realtime) as a:
        await anonymous.subscribe("t", TODOS)
        await a.subscribe("t", TODOS, token=realtime.token(USER_A))
        await realtime.sql(f"insert into todos (user_id, title) values ('{USER_A}', 'boom')")
        told = await a.next("postgres_changes")
        assert told["payload"]["data"]["record"]["title"] == "boom"
        await realtime.settle()
        assert await anonymous.rest() == []


async def test_what_may_not_be_selected_at_all_is_an_error(realtime: RealtimeServer) -> None:
    await realtime.sql("revoke select on colpriv from anon, authenticated")
    async with raw_socket(realtime) as socket:
        await socket.subscribe("c", {**NOTES, "table": "colpriv"})
        await realtime.sql("insert into colpriv values (1, 'pub', 'secret')")
        data = (await socket.next("postgres_changes"))["payload"]["data"]
        assert (data["errors"], data["record"]) == (["Error 401: Unauthorized"], {})


async def test_a_change_goes_to_every_channel_of_a_socket(realtime: RealtimeServer) -> None:
    async with raw_socket(realtime) as socket:
        for name in ("one", "two"):
            await socket.subscribe(name, NOTES)
        await realtime.sql("insert into notes (body) values ('x')")
        told = [await socket.next("postgres_changes") for _ in range(2)]
        assert {frame["topic"] for frame in told} == {"realtime:one", "realtime:two"}


async def test_rows_of_one_transaction_come_in_their_order(realtime: RealtimeServer) -> None:
    async with raw_socket(realtime) as socket:
        await socket.subscribe("n", NOTES)
        await realtime.sql("insert into notes (id, body) select n, 'x' from generate_series(1, 500) n")
        ids = [(await socket.next("postgres_changes"))["payload"]["data"]["record"]["id"] for _ in range(500)]
        assert ids == list(range(1, 501))


async def test_a_table_that_changes_shape_is_told_in_its_new_one(realtime: RealtimeServer) -> None:
    async with raw_socket(realtime) as socket:
        await socket.subscribe("n", NOTES)
        await realtime.sql("alter table notes add column extra int default 7; insert into notes (body) values ('x')")
        data = (await socket.next("postgres_changes"))["payload"]["data"]
        assert data["record"]["extra"] == 7
        assert {"name": "extra", "type": "int4"} in data["columns"]


async def test_a_publication_that_changes_is_noticed(realtime_postgres: Postgres) -> None:
    """Who is subscribed is subscribed anew and told so; a table taken out is told of no more."""
    async with serving(realtime_postgres, publication_check_s=0.05) as realtime, raw_socket(realtime) as socket:
        await socket.subscribe("n", NOTES)
        await realtime.sql("alter publication supabase_realtime add table unpublished")
        assert (await socket.next("system"))["payload"]["message"] == "Subscribed to PostgreSQL"
        await realtime.sql("alter publication supabase_realtime drop table notes")
        told = await socket.next("system")
        assert told["payload"]["status"] == "error"
        await realtime.sql("insert into notes (body) values ('x')")
        await realtime.settle()
        assert [frame["event"] for frame in await socket.rest()] == []


async def test_no_slot_is_left_behind(realtime_postgres: Postgres) -> None:
    async def slots() -> int:
        async with await psycopg.AsyncConnection.connect(realtime_postgres.dsn(SUPERUSER)) as connection:
            return len(await (await connection.execute("select from pg_replication_slots")).fetchall())

    async def none() -> bool:
        return await slots() == 0

    await eventually(none)
    async with serving(realtime_postgres):
        assert await slots() == 1
    await eventually(none)


async def test_a_crash_of_postgres_goes_unnoticed(realtime_postgres: Postgres) -> None:
    """Sockets stay open, channels joined; what is committed afterwards is told again."""
    async with serving(realtime_postgres) as realtime, raw_socket(realtime) as socket:
        await socket.subscribe("n", NOTES)
        await socket.join("db")
        await realtime.crash_postgres()
        await eventually(realtime.realtime.wait_ready)
        await realtime.sql("insert into notes (body) values ('after')")
        assert (await socket.next("postgres_changes"))["payload"]["data"]["record"]["body"] == "after"
        await realtime.sql("select realtime.send('{\"after\": true}', 'e', 'db', false)")
        assert (await socket.next("broadcast"))["payload"]["payload"]["after"] is True
        assert (await socket.join("p", token=realtime.token(USER_A), private=True))["status"] == "error"

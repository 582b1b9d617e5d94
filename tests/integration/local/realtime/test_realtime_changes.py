"""postgres_changes beyond the recordings: filters, callers, a publication that changes, many rows, a crash."""

from typing import Any

import psycopg
from realtime_server import USER_A, USER_B, RealtimeServer, eventually, serving
from sockets import raw_socket

from smelt.local.postgres import SUPERUSER, Postgres

NOTES = {"event": "*", "schema": "public", "table": "notes"}
TODOS = {"event": "*", "schema": "public", "table": "todos"}
TYPES = {"event": "INSERT", "schema": "public", "table": "types_t"}


FILTERS: list[tuple[str, list[int]]] = [
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
    ('c_text=in.("a", c)', [5, 10]),
    ("c_text=in.()", []),
    ("c_text=not.in.(a,null)", []),
    ('c_text=eq."a"', [5]),
    ("c_bool=is.unknown", [10]),
    ("c_float8=gt.1", [5]),
    ("c_domain=in.(1,2)", [5]),
    # Has no operator for it.
    ("c_json=eq.{}", []),
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"filter": "c_bool=is.TRUE"}, "invalid value for is filter: must be null, true, false, or unknown"),
    ({"filter": "c_text=is.true"}, "is true filter requires a boolean column, got text"),
    ({"filter": "c_int4=match.1"}, "operator match requires a text-compatible column type, got integer"),
    (
        {"filter": "c_varchar=like.v%"},
        "operator like requires a text-compatible column type, got character varying",
    ),
    ({"filter": "c_text=imatch.("}, "invalid regular expression for imatch filter: invalid regular expression: "),
    ({"filter": f"c_int4=in.({','.join(map(str, range(101)))})"}, "too many values for `in` filter. Maximum 100"),
    ({"filter": "c_int4=in.(1,x)"}, 'invalid input syntax for type integer: "x"'),
    ({"filter": "c_enum=eq.nope"}, 'invalid input value for enum mood: "nope"'),
    ({"select": ["c_text", "nope"]}, "invalid column for select nope"),
]


async def test_a_filter_keeps_to_its_operator(realtime: RealtimeServer) -> None:
    async with raw_socket(realtime) as socket:
        for condition, _ in FILTERS:
            await socket.subscribe(condition, {**TYPES, "filter": condition.replace("%2B", "+")})
        await realtime.sql("""
            insert into types_t
                (id, c_int4, c_text, c_bool, c_numeric, c_tstz, c_enum, c_jsonb, c_uuidarr, c_float8, c_domain, c_json)
            values
                (gen_random_uuid(), 5, 'a', true, 1.5, '2026-01-01', 'sad', '{"a": 1}', '{}', 1e9, 2, '{}'),
                (gen_random_uuid(), 7, 'ab', false, 2.5, '2026-01-02', 'ok', '{"a": 2}', null, 0.5, 3, '{}'),
                (gen_random_uuid(), 10, 'c', null, null, null, null, null, null, null, null, null)
        """)
        await realtime.settle()
        told: dict[str, list[int]] = {condition: [] for condition, _ in FILTERS}
        for frame in await socket.rest():
            told[frame["topic"].removeprefix("realtime:")].append(frame["payload"]["data"]["record"]["c_int4"])
        assert told == dict(FILTERS)


async def test_a_wish_that_cannot_be_fulfilled_is_refused_with_its_reason(realtime: RealtimeServer) -> None:
    async with raw_socket(realtime) as socket:
        for wish, sentence in REFUSED:
            await socket.join("bad", postgres_changes=[{**TYPES, **wish}])
            told = (await socket.next("system"))["payload"]
            assert (told["status"], told["extension"]) == ("error", "postgres_changes")
            assert sentence in told["message"]


async def test_every_filter_needs_a_value_to_look_at(realtime: RealtimeServer) -> None:
    """Of a deleted row only the key is known: a filter on anything else keeps it away."""
    async with raw_socket(realtime) as socket:
        await socket.subscribe("both", {**NOTES, "event": "DELETE", "filter": "id=eq.1,body=eq.x"})
        await socket.subscribe("key", {**NOTES, "event": "DELETE", "filter": "id=eq.1"})
        await realtime.sql("insert into notes (id, body) values (1, 'x'); delete from notes")
        await realtime.settle()
        assert [frame["topic"] for frame in await socket.rest()] == ["realtime:key"]


async def test_a_filter_means_the_column_of_each_table(realtime: RealtimeServer) -> None:
    """One wish for a whole schema, with columns of one name and two types."""
    await realtime.sql("alter publication supabase_realtime set table notes, todos, witness.marks")
    async with raw_socket(realtime, realtime.keys.service_role_key) as socket:
        await socket.join("all", postgres_changes=[{**NOTES, "table": "*", "filter": "id=eq.1"}])
        assert "invalid input syntax for type uuid" in (await socket.next("system"))["payload"]["message"]
        await socket.subscribe("null", {**NOTES, "table": "*", "event": "INSERT", "filter": "id=not.is.null"})
        await realtime.sql(f"insert into notes (id) values (1); insert into todos (user_id) values ('{USER_A}')")
        tables = [(await socket.next("postgres_changes"))["payload"]["data"]["table"] for _ in range(2)]
        assert tables == ["notes", "todos"]


async def test_clients_of_the_first_protocol_name_the_table_in_the_topic(realtime: RealtimeServer) -> None:
    """They send no config and their token as `user_token`, and hear changes as events of their own."""
    async with raw_socket(realtime) as socket:
        ref = await socket.send("realtime:public:todos", "phx_join", {"user_token": realtime.token(USER_A)})
        await socket.next("phx_reply", ref=ref)
        await socket.next("system")
        await realtime.sql(f"insert into todos (user_id, title) values ('{USER_A}', 'mine')")
        told = await socket.next("INSERT")
        assert (told["topic"], told["payload"]["record"]["title"]) == ("realtime:public:todos", "mine")


async def test_truncating_tells_nothing(realtime: RealtimeServer) -> None:
    async with raw_socket(realtime) as socket:
        await socket.subscribe("n", NOTES)
        await realtime.sql("insert into notes (id) values (1); truncate notes; insert into notes (id) values (2)")
        ids = [(await socket.next("postgres_changes"))["payload"]["data"]["record"]["id"] for _ in range(2)]
        assert ids == [1, 2]


async def test_an_index_may_be_what_identifies_a_row(realtime: RealtimeServer) -> None:
    """Its columns are what is told of the old row; under row level security, only as far as they are the key."""
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
        told = [(await socket.next("postgres_changes"))["payload"]["data"] for _ in range(3)]
        assert [change.get("old_record") for change in told] == [None, {"body": "a"}, None]
        assert "old_record" in told[2]


async def test_row_level_security_without_a_key_hides_what_was_deleted(realtime: RealtimeServer) -> None:
    await realtime.sql("alter table nopk enable row level security; insert into nopk values (1, 'secret')")
    async with raw_socket(realtime) as socket:
        await socket.subscribe("k", {**NOTES, "table": "nopk"})
        await realtime.sql("delete from nopk")
        assert (await socket.next("postgres_changes"))["payload"]["data"]["old_record"] is None


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

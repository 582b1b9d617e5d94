"""Bindings of postgres_changes: filters, names, columns and error messages."""

from typing import Any

from tests.integration.local.realtime.realtime_server import USER_A, RealtimeServer
from tests.integration.local.realtime.sockets import raw_socket

NOTES = {"event": "*", "schema": "public", "table": "notes"}
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
    # The type has no such operator.
    ("c_json=eq.{}", []),
]
REJECTED: list[tuple[dict[str, Any], str]] = [
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


async def test_filter_operators_select_the_matching_rows(realtime: RealtimeServer) -> None:
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
        matches: dict[str, list[int]] = {condition: [] for condition, _ in FILTERS}
        for frame in await socket.rest():
            matches[frame["topic"].removeprefix("realtime:")].append(frame["payload"]["data"]["record"]["c_int4"])
        assert matches == dict(FILTERS)


async def test_filter_that_is_invalid_is_rejected_with_its_reason(realtime: RealtimeServer) -> None:
    async with raw_socket(realtime) as socket:
        for binding, sentence in REJECTED:
            await socket.join("bad", postgres_changes=[{**TYPES, **binding}])
            message = (await socket.next("system"))["payload"]
            assert (message["status"], message["extension"]) == ("error", "postgres_changes")
            assert sentence in message["message"]


async def test_filter_on_a_column_without_a_value_omits_the_deleted_row(realtime: RealtimeServer) -> None:
    """Only the key of a deleted row is known, so a filter on another column does not match."""
    async with raw_socket(realtime) as socket:
        await socket.subscribe("both", {**NOTES, "event": "DELETE", "filter": "id=eq.1,body=eq.x"})
        await socket.subscribe("key", {**NOTES, "event": "DELETE", "filter": "id=eq.1"})
        await realtime.sql("insert into notes (id, body) values (1, 'x'); delete from notes")
        await realtime.settle()
        assert [frame["topic"] for frame in await socket.rest()] == ["realtime:key"]


async def test_filter_uses_the_column_type_of_each_table(realtime: RealtimeServer) -> None:
    """One binding for a whole schema, where a column name has two types."""
    await realtime.sql("alter publication supabase_realtime set table notes, todos, witness.marks")
    async with raw_socket(realtime, realtime.keys.service_role_key) as socket:
        await socket.join("all", postgres_changes=[{**NOTES, "table": "*", "filter": "id=eq.1"}])
        assert "invalid input syntax for type uuid" in (await socket.next("system"))["payload"]["message"]
        await socket.subscribe("null", {**NOTES, "table": "*", "event": "INSERT", "filter": "id=not.is.null"})
        await realtime.sql(f"insert into notes (id) values (1); insert into todos (user_id) values ('{USER_A}')")
        tables = [(await socket.next("postgres_changes"))["payload"]["data"]["table"] for _ in range(2)]
        assert tables == ["notes", "todos"]


async def test_unknown_role_is_rejected_at_subscription(realtime: RealtimeServer) -> None:
    async with raw_socket(realtime) as socket:
        await socket.join("n", token=realtime.token(role="nosuchrole"), postgres_changes=[NOTES])
        message = (await socket.next("system"))["payload"]
        assert message["status"] == "error"
        assert message["message"].endswith('ERROR 42704 (undefined_object) role "nosuchrole" does not exist')


async def test_bindings_are_grouped_by_their_selected_columns(realtime: RealtimeServer) -> None:
    """Each set of columns gets one frame with the ids of its bindings; the order of the columns does not matter."""
    bindings = [{**NOTES, "select": select} for select in (["meta", "body"], ["body", "meta"], ["body"], ["body"])]
    async with raw_socket(realtime) as socket:
        ids = await socket.subscribe("n", *bindings, NOTES)
        await realtime.sql("insert into notes (id, body) values (1, 'x')")
        messages = [(await socket.next("postgres_changes"))["payload"] for _ in range(3)]
        assert [message["ids"] for message in messages] == [[ids[4]], [ids[3], ids[2]], [ids[1], ids[0]]]
        assert [list(message["data"]["record"]) for message in messages] == [["id", "body", "meta"], ["id", "body"],
                                                                   ["id", "body", "meta"]]  # fmt: skip


async def test_binding_names_are_patterns(realtime: RealtimeServer) -> None:
    async with raw_socket(realtime) as socket:
        await socket.subscribe("n", {**NOTES, "schema": "pub%", "table": "n_t%", "event": "INSERT"})
        await realtime.sql("insert into nopk values (1, 'x'); insert into notes (id) values (1)")
        assert (await socket.next("postgres_changes"))["payload"]["data"]["table"] == "notes"

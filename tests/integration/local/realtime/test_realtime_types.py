"""Values of every type are sent as Postgres writes them in `jsonb`, like on the platform."""

import json
from typing import Any

import psycopg

from tests.integration.local.realtime.realtime_server import RealtimeServer
from tests.integration.local.realtime.sockets import raw_socket

TYPES = """
create type public.pair as (a int, "b c" text);
create type public.nested as (p public.pair, list public.pair[], mood public.mood, at timestamptz, data jsonb);
create domain public.positive_pair as public.pair check ((value).a > 0);
create domain public.words as text[];
"""
VALUES = {
    "int2": "-3", "int4": "7", "int8": "9007199254740993", "oid": "26", "numeric": "-0.00000010",
    "numeric(6,2)": "1.5", "float4": "1.5", "float8": "1e+20", "real": "1e-7", "double precision": "-0", "bool": "t",
    "money": "12.34", "text": 'te"xt \\ ü', "varchar(9)": "v", '"char"': "x", "name": "n",
    "uuid": "d0000000-0000-4000-8000-000000000001", "date": "infinity", "time": "03:04:05.6", "timetz": "03:04:05+02",
    "interval": "1 day 02:03:04", "timestamp": "2026-01-02 03:04:05.5",
    "timestamptz": "2026-01-02 03:04:05.678901+02", "timestamptz(0)": "0044-03-15 BC", "timestamp(0)": "0044-03-15 BC",
    "inet": "10.0.0.1/8", "cidr": "10.0.0.0/8",
    "macaddr": "08:00:2b:01:02:03", "bit(3)": "101", "varbit": "10", "point": "(1,2)", "int4range": "[1,5)",
    "tstzrange": "[2026-01-01 00:00+00,)", "int4multirange": "{[1,3), [5,9)}", "tsvector": "a:1 b",
    "tsquery": "a & b", "jsonpath": "$.a", "int2vector": "1 2", "pg_lsn": "0/16B3748", "regclass": "pg_class",
    "json": '{"b": 1e2, "a": 1.50, "b": 2}', "jsonb": '{"b": 1e2, "a": [null, 1.50]}', "public.mood": "happy",
    "public.posint": "5", "public.pair": '(1,"x ""y"", z")', "public.positive_pair": "(2,)",
    "public.words": '{a,"b c"}', "public.nested": None, "text[]": '{a,"b, c",NULL,"q\\"x"}',
    "int4[]": "{{1,2},{3,4}}", "float8[]": "{1e+20,NaN}", "numeric[]": "{1.50}", "bool[]": "{t,f}",
    "timestamptz[]": '{"2026-01-02 03:04:05+02",infinity}', "public.mood[]": "{sad,ok}", "public.posint[]": "{1,2}",
    "public.pair[]": '{"(1,x)","(2,)"}', "jsonb[]": '{"{\\"a\\": 1.50}"}', "box[]": "{(1,1),(0,0)}",
    "int4range[]": '{"[1,2)"}', "uuid[]": "{}", "oid[]": "{26}", "date[]": "{2026-01-02}", "money[]": "{12.34}",
}  # fmt: skip
NESTED = """row(row(1, 'x')::pair, array[row(2, 'y'), null]::pair[], 'sad', '2026-01-02 03:04+02', '{"k": 1.50}')"""


async def test_postgres_changes_values_equal_jsonb_for_every_type(realtime: RealtimeServer) -> None:
    columns = ", ".join(f"c{number} {pg_type}" for number, pg_type in enumerate(VALUES))
    await realtime.sql(f"""
        drop type if exists public.pair, public.nested cascade;
        drop domain if exists public.words;
        {TYPES}
        create table if not exists fidelity (id int primary key, {columns});
        alter publication supabase_realtime add table fidelity;
    """)
    try:
        async with raw_socket(realtime) as socket:
            await socket.subscribe("f", {"event": "*", "schema": "public", "table": "fidelity"})
            async with await psycopg.AsyncConnection.connect(realtime.dsn, autocommit=True) as connection:
                await connection.execute("set search_path = public; set timezone = 'UTC'")
                marks = ", ".join("%s" if value is not None else NESTED for value in VALUES.values())
                values = [value for value in VALUES.values() if value is not None]
                await connection.execute(f"insert into fidelity values (1, {marks})".encode(), values)
                row = await (await connection.execute("select to_jsonb(f)::text from fidelity f")).fetchone()
                assert row is not None
                frame = await socket.next_text("postgres_changes")
                found, expected = exact(frame)["payload"]["data"]["record"], exact(row[0])
                by_type = {pg_type: (expected[f"c{n}"], found[f"c{n}"]) for n, pg_type in enumerate(VALUES)}
                assert {name: pair for name, pair in by_type.items() if pair[0] != pair[1]} == {}
    finally:
        await realtime.sql("drop table fidelity")


def exact(text: str) -> Any:
    """Parse JSON and keep its numbers as text."""
    return json.loads(text, parse_int=str, parse_float=str)

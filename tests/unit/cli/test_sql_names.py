"""The names that migrations create, read from their statements without comments, strings and function bodies."""

from pathlib import Path

import pytest

from smelt.cli.sql_names import created_names, without_comments_and_strings


def names(tmp_path: Path, *migrations: str) -> list[str]:
    paths = [tmp_path / f"{number}_mine.sql" for number in range(len(migrations))]
    for path, sql in zip(paths, migrations, strict=True):
        path.write_text(sql)
    return [f"{created.line} {created.name}" for created in created_names(paths)]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("create table notifications (id int);", "table public.notifications"),
        ("CREATE TABLE IF NOT EXISTS\n  Public.Notifications();", "table public.notifications"),
        ('create unlogged table "public" . "No""tes" ();', 'table public.No"tes'),
        ("create or replace view v as select 1;", "view public.v"),
        ("create materialized\nview if not exists app.v as select 1;", "materialized view app.v"),
        ("create sequence s;", "sequence public.s"),
        ("create table übung_1 ();", "table public.übung_1"),
        ("create table 𠮷 ();", "table public.𠮷"),
        ("create type mood as enum ('a');", "type public.mood"),
        ("create domain d as text;", "domain public.d"),
        ("create unique index concurrently if not exists i on app.t (a);", "index app.i"),
        ("create or replace function create_batch(a text) returns int", "function public.create_batch"),
        ('create function "public"."create_batch"() returns int', "function public.create_batch"),
        ("create procedure p()", "function public.p"),
        (
            'create policy "owners; read" on notifications for select',
            'policy "owners; read" on public.notifications',
        ),
        ("create trigger t before insert or update of a on app.b", 'trigger "t" on app.b'),
        ("create schema if not exists smelt;", "schema smelt"),
        ("insert into storage.buckets (id, name) values ('smelt-audio', 'x')", "bucket smelt-audio"),
        ("insert into storage.buckets (id) select 'smelt-audio' where true", "bucket smelt-audio"),
        ("do $$ begin create type mood as enum ('a'); exception when others then null; end $$;", "type public.mood"),
        ("do $x$ begin if not exists (select 1) then create table t (); end if; end $x$;", "table public.t"),
    ],
)
def test_names_are_found_in_each_kind_of_statement(tmp_path: Path, sql: str, expected: str) -> None:
    assert names(tmp_path, sql) == [f"1 {expected}"]


@pytest.mark.parametrize(
    "sql",
    [
        "-- create table t ();",
        "/* create /* nested */ create table t (); */",
        "select 'create table t ()'; select 'it''s; create table t ()';",
        r"select E'\'; create table t ();';",
        "create temp table t ();",
        "alter table t add column a int;",
        "insert into app.buckets (id) values ('smelt-audio');",
        "comment on table t is 'create table t ()';",
    ],
)
def test_names_in_comments_strings_and_of_temporary_tables_are_ignored(tmp_path: Path, sql: str) -> None:
    assert names(tmp_path, sql) == []


def test_names_in_the_body_of_a_function_are_ignored(tmp_path: Path) -> None:
    body = "create function f() returns void language plpgsql as $body$\nbegin\n create table t ();\nend $body$;"
    assert names(tmp_path, body) == ["1 function public.f"]


def test_names_have_the_lines_of_their_statements(tmp_path: Path) -> None:
    sql = (
        "-- first\n\n/* a\nb */ create table one ();\n\n-- second\ncreate table\ntwo ();\ninsert into storage.buckets\n"
    )
    sql += "(id, name)\nvalues ('a', 'b'), ('c', 'd')"
    assert names(tmp_path, sql) == ["4 table public.one", "7 table public.two", "9 bucket a", "9 bucket c"]


def test_names_that_are_dropped_or_renamed_later_are_ignored(tmp_path: Path) -> None:
    first = "create table a (); create table b (); create table c (); create function f(x int, y int) returns int;"
    first += "create policy p on c;"
    later = "drop table if exists a, public.b cascade; drop function f(int, int);"
    later += "alter table if exists only c rename to d; drop policy if exists p on c;"
    assert names(tmp_path, first, later) == ["1 table public.d"]


def test_masked_sql_keeps_the_positions_of_all_other_characters() -> None:
    sql = "select 'a\nb' /* c\n */ from $$d\n$$ \"e;'\" -- f\n;"
    masked = without_comments_and_strings(sql)
    assert len(masked) == len(sql)
    assert masked.count("\n") == sql.count("\n")
    assert masked.split() == ["select", "from", '"e;\'"', ";"]

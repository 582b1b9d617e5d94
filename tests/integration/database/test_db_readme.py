"""`supabase/README.md` agrees with the catalog, the migrations, the functions and the SQL tests."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from smelt.contract.vocabulary import DEFAULT_PROMPTS, ERROR_SENTENCES
from tests.harness.documents import code_for
from tests.integration.database.db_calls import Caller, Database, claimed, results_for, submitted
from tests.integration.database.db_server import MIGRATIONS, REPOSITORY

README: Final = (REPOSITORY / "supabase" / "README.md").read_text(encoding="utf-8")
[ER_DIAGRAM] = code_for("test_er_diagram_has_exactly_the_tables_of_the_catalog")
[STATE_DIAGRAM] = code_for("test_state_diagram_has_exactly_the_statuses_in_their_order")
ROLES: Final = ("anon", "authenticated", "service_role")
TYPES: Final = {"timestamptz": "timestamp with time zone", "float": "double precision"}
ON_DELETE: Final = {"c": "cascade", "n": "set null"}


class ForeignKey(NamedTuple):
    """A relation: `table.column` references `target`; nullable, and unique if it is one row at most."""

    table: str
    column: str
    target: str
    on_delete: str
    nullable: bool
    unique: bool


def _section(title: str) -> str:
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def _table_name(name: str) -> str:
    """Return the name of a table as the diagram has it: without the schema, if it is smelt's own."""
    return name.removeprefix("public.").removeprefix("smelt.").replace(".", "_")


def _drawn_columns() -> dict[str, dict[str, tuple[str, set[str]]]]:
    """Return the tables of the diagram, and of each column its type and its keys."""
    return {
        table: {
            name: (TYPES.get(kind, kind), set(re.findall(r"\w+", keys)))
            for kind, name, keys in re.findall(r"^ +(\w+) (\w+)((?: (?:PK|FK|UK),?)*)", body, re.MULTILINE)
        }
        for table, body in re.findall(r"^    (\w+) \{\n(.*?)^    \}", ER_DIAGRAM, re.DOTALL | re.MULTILINE)
    }


def _drawn_foreign_keys() -> set[ForeignKey]:
    relations = re.findall(r'^    (\w+) (\|\||\|o)--(\|\||o\||o\{|\|\{) (\w+) : "(\w+), ([a-z ]+)"$', ER_DIAGRAM, re.M)
    assert len(relations) == ER_DIAGRAM.count("--")
    return {
        ForeignKey(table, column, target, on_delete, one == "|o", "{" not in many)
        for target, one, many, table, column, on_delete in relations
    }


def test_er_diagram_has_exactly_the_tables_of_the_catalog(template_database: Database) -> None:
    rows = template_database.rows(
        "select relname from pg_class"
        " where relkind = 'r' and relnamespace in ('public'::regnamespace, 'smelt'::regnamespace)"
    )
    assert set(_drawn_columns()) == {name for (name,) in rows} | {"auth_users"}


def test_er_diagram_has_columns_types_and_keys_of_the_catalog(template_database: Database) -> None:
    """A column may be left out, unless it is part of a key."""
    rows = template_database.rows(
        """
        select
            c.oid::regclass::text, a.attname, format_type(a.atttypid, null),
            coalesce(array_agg(distinct k.contype::text) filter (where k.contype is not null), '{}')
        from pg_class as c
        join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        left join pg_constraint as k
            on k.conrelid = c.oid and a.attnum = any (k.conkey) and k.contype in ('p', 'f', 'u')
                and (k.contype <> 'u' or cardinality(k.conkey) = 1)
        where c.relkind = 'r' and c.relnamespace in ('public'::regnamespace, 'smelt'::regnamespace)
        group by c.oid, a.attnum, a.attname, a.atttypid
        """
    )
    keys = {"p": "PK", "f": "FK", "u": "UK"}
    found = {(_table_name(t), column): (kind, {keys[k] for k in contypes}) for t, column, kind, contypes in rows}
    drawn = {(t, column): what for t, columns in _drawn_columns().items() for column, what in columns.items()}
    del drawn["auth_users", "id"]
    assert {key: what for key, what in drawn.items() if found.get(key) != what} == {}
    assert {key for key, (_, kinds) in found.items() if kinds} - drawn.keys() == set()


def test_er_diagram_has_exactly_the_foreign_keys_of_the_catalog(template_database: Database) -> None:
    rows = template_database.rows(
        """
        select
            k.conrelid::regclass::text, a.attname, k.confrelid::regclass::text, k.confdeltype::text, not a.attnotnull,
            exists (
                select from pg_index as i
                where i.indrelid = k.conrelid and i.indisunique and i.indkey::text = array_to_string(k.conkey, ' ')
            )
        from pg_constraint as k
        join pg_attribute as a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
        where k.contype = 'f' and k.connamespace in ('public'::regnamespace, 'smelt'::regnamespace)
        """
    )
    assert _drawn_foreign_keys() == {
        ForeignKey(_table_name(table), column, _table_name(target), ON_DELETE[action], nullable, unique)
        for table, column, target, action, nullable, unique in rows
    }


def _transitions() -> set[tuple[str, str]]:
    return set(re.findall(r"^ +(\S+) --> (\S+)", STATE_DIAGRAM, re.MULTILINE))


def _reachable(transitions: set[tuple[str, str]], start: str) -> set[str]:
    reached: set[str] = set()
    found = {start}
    while found:
        found = {target for source, target in transitions if source in found} - reached
        reached |= found
    return reached


def _open_statuses() -> list[str]:
    (body,) = re.findall(r"state open \{\n(.*?)\n    \}", STATE_DIAGRAM, re.DOTALL)
    return list(dict.fromkeys(name for name in re.findall(r"\w+(?= -->)|(?<=--> )\w+", body)))


def test_state_diagram_has_exactly_the_statuses_in_their_order(template_database: Database) -> None:
    statuses = [status for (status,) in template_database.rows("select status from smelt.stages order by position")]
    drawn = {name for transition in _transitions() for name in transition} - {"[*]", "open"}
    assert drawn == set(statuses)
    assert _open_statuses() == statuses[:-2]


def _set_status(database: Database, smelt_id: str, status: str) -> None:
    database.run(
        "update public.smelts as s set status = g.status, percentage = g.min_percentage"
        " from smelt.stages as g where s.id = %s and g.status = %s",
        smelt_id,
        status,
    )


def test_state_diagram_allows_exactly_what_reports_do(database: Database, client: Caller, worker: Caller) -> None:
    """A report may pass several arrows at once; against the arrows it changes nothing."""
    created = submitted(database, client)
    attempt = claimed(worker)["attempt"]
    for before in _open_statuses():
        for reported in _open_statuses():
            _set_status(database, created["id"], before)
            worker("report_smelt_progress", smelt_id=created["id"], attempt=attempt, status=reported)
            after = client("get_smelt", smelt_id=created["id"])["status"]
            assert after == (reported if reported in _reachable(_transitions(), before) else before), (before, reported)


@pytest.mark.parametrize("status", _open_statuses())
def test_state_diagram_ends_each_open_smelt_and_retries_it(
    database: Database, client: Caller, worker: Caller, status: str
) -> None:
    assert {("[*]", "open"), ("[*]", "pending"), ("open", "completed"), ("open", "failed")} <= _transitions()
    for end in ("complete_smelt", "fail_smelt", "cancel_smelt"):
        created = submitted(database, client, 2)
        claim = claimed(worker)
        attempt = {"smelt_id": created["id"], "attempt": claim["attempt"]}
        failed = {"id": claim["files"][0]["id"], "status": "failed", "error_code": "corrupted_file"}
        worker("report_smelt_progress", **attempt, files=[failed])
        _set_status(database, created["id"], status)
        if end == "complete_smelt":
            worker(end, **attempt, results=results_for(claim)[1:])
        elif end == "fail_smelt":
            worker(end, **attempt, error_code="internal_error")
        else:
            client(end, smelt_id=created["id"])
        ended = client("get_smelt", smelt_id=created["id"])
        assert ended["status"] == ("completed" if end == "complete_smelt" else "failed")
        assert (ended["status"], "open") in _transitions()
        assert client("retry_smelt", smelt_id=created["id"])["status"] == "pending"
        client("delete_smelt", smelt_id=created["id"])


def _functions_section(database: Database) -> str:
    """Return the index as it should be: of each migration its comment, and of each function its first sentence."""
    privileges = {
        name if "." in name else f"public.{name}": ", ".join(roles)
        for name, roles in database.rows(
            """
            select p.oid::regproc::text, array(
                select r from unnest(%s::text[]) as r where has_function_privilege(r, p.oid, 'execute')
            )
            from pg_proc as p
            where p.pronamespace in ('public'::regnamespace, 'smelt'::regnamespace)
            """,
            list(ROLES),
        )
    }
    parts = []
    for path in sorted(MIGRATIONS.glob("*.sql")):
        about, functions = _documented(path)
        rows = [f"| `{name}` | {privileges.pop(name) or 'owner'} | {promise} |" for name, promise in functions]
        head = ["| function | executable by | promise |", "|---|---|---|"] if rows else []
        parts.append("\n".join([f"### {path.name}", "", about, *([""] if rows else []), *head, *rows]))
    assert privileges == {}, "functions that no migration creates"
    return "\n\n".join(parts)


def _documented(path: Path) -> tuple[str, Iterator[tuple[str, str]]]:
    source = path.read_text(encoding="utf-8")
    (about,) = re.findall(r"\A((?:--.*\n)+)", source)
    functions = re.findall(r"^((?:--.*\n)+)create function ([\w.]+)\(", source, re.MULTILINE)
    assert len(functions) == source.count("\ncreate function "), f"a function without a comment in {path.name}"
    return _first_sentence(about), ((name, _first_sentence(comment)) for comment, name in functions)


def _first_sentence(comment: str) -> str:
    text = " ".join(comment.replace("--", "").split())
    return re.split(r"(?<=\.) (?=[A-Z`])", text, maxsplit=1)[0]


def test_function_index_has_every_function_once_with_its_file_privileges_and_promise(
    template_database: Database,
) -> None:
    index = _section("Functions")
    expected = _functions_section(template_database)
    assert index[index.index("### ") :].strip() == expected


def _rows(section: str) -> list[list[str]]:
    """Return the cells of the only table in a section, without its head."""
    rows = re.findall(r"^\|.*\|$", section, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def test_parameters_of_create_smelt_are_those_of_the_catalog(template_database: Database) -> None:
    [(names,)] = template_database.rows("select proargnames from pg_proc where oid = 'public.create_smelt'::regproc")
    assert {row[0].strip("`") for row in _rows(_section("Creating a smelt"))} == set(names)


def test_prompts_and_error_codes_are_those_of_the_contract() -> None:
    assert [row[0].strip("`") for row in _rows(_section("Prompts"))] == list(DEFAULT_PROMPTS)
    codes = {row[0].strip("`"): row[1] for row in _rows(_section("Error codes"))}
    assert codes == ERROR_SENTENCES


def test_limits_are_those_of_the_catalog(template_database: Database) -> None:
    section = " ".join(_section("Limits").split())
    described = {name: int(value.replace(",", "")) for name, value in re.findall(r"`(\w+)`: ([\d,]+)", section)}
    [(limits,)] = template_database.rows("select to_jsonb(l) from smelt.limits as l")
    assert {name: limits[name] for name in described} == described
    assert set(described) == {name for name in limits if re.fullmatch(r"(anonymous_)?max_(?!keep|fail|web).*", name)}
    assert f"`{', '.join(limits['audio_extensions'])}`" in section


def test_claims_are_numbered_and_each_has_the_sql_test_that_it_names() -> None:
    claims = re.findall(r"^(\d+)\. (.*?)(?=^\d+\. |^\*\*|\Z)", _section("Promises"), re.DOTALL | re.MULTILINE)
    numbers = [int(number) for number, _ in claims]
    assert all(after == before + 1 for before, after in pairwise([0, *numbers]))
    named = [name for _, claim in claims for name in re.findall(r"`(\w+)`\s*\Z", claim)]
    assert len(named) == len(claims)
    tests = {path.stem for path in (REPOSITORY / "supabase" / "tests").glob("*.sql")} - {"setup"}
    assert sorted(named) == sorted(tests)

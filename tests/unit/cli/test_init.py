"""`smelt init` adds the migrations to a project and changes no other file."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from smelt.cli import app
from smelt.cli.bundled_migrations import migration_files, version_of
from smelt.cli.sql_names import created_names

BUNDLED = migration_files()


def init(folder: Path, *options: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["init", str(folder), *options])
    return done.exit_code, " ".join(done.output.split())


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    """The migrations folder of a project that has a migration of its own."""
    folder = tmp_path / "supabase" / "migrations"
    folder.mkdir(parents=True)
    (tmp_path / "supabase" / "config.toml").write_text("")
    (folder / "20200101000000_mine.sql").write_text("select 1;")
    return folder


def test_init_adds_the_migrations_to_the_project(tmp_path: Path, migrations: Path) -> None:
    code, printed = init(tmp_path)
    assert code == 0
    assert "1. supabase db push --remote applies" in printed
    assert {path.name for path in migrations.iterdir()} == {path.name for path in BUNDLED} | {"20200101000000_mine.sql"}
    assert all((migrations / path.name).read_bytes() == path.read_bytes() for path in BUNDLED)


def test_init_accepts_the_supabase_folder(tmp_path: Path, migrations: Path) -> None:
    code, printed = init(migrations.parent)
    assert code == 0
    assert "1. supabase db push --remote applies" in printed
    assert len([*migrations.iterdir()]) == len(BUNDLED) + 1
    assert not (migrations.parent / "supabase").exists()


def test_init_is_idempotent(tmp_path: Path, migrations: Path) -> None:
    init(tmp_path)
    code, printed = init(tmp_path)
    assert code == 0
    assert f"Added 0 migrations to {migrations}; {len(BUNDLED)} were already there." in printed


def test_init_keeps_a_changed_migration(tmp_path: Path, migrations: Path) -> None:
    changed = migrations / BUNDLED[3].name
    changed.write_text("-- changed by hand")
    code, printed = init(tmp_path)
    assert code == 0
    assert changed.read_text() == "-- changed by hand"
    assert f"{changed.name} differs from smelt's version" in printed
    assert (migrations / BUNDLED[4].name).exists()


def test_init_rejects_a_taken_version_before_writing(tmp_path: Path, migrations: Path) -> None:
    taken = migrations / f"{version_of(BUNDLED[5])}_mine.sql"
    taken.write_text("select 2;")
    code, _ = init(tmp_path)
    assert code == 2
    assert not any((migrations / path.name).exists() for path in BUNDLED)


def test_init_advises_include_all_for_newer_migrations(tmp_path: Path, migrations: Path) -> None:
    """The Supabase CLI rejects a migration that is older than an applied one."""
    (migrations / "99990101000000_mine.sql").write_text("select 3;")
    assert "supabase db push --remote --include-all" in init(tmp_path)[1]


def test_init_advises_supabase_init_without_a_project(tmp_path: Path) -> None:
    code, printed = init(tmp_path)
    assert code == 0
    assert "1. supabase init" in printed


def test_init_of_a_missing_folder_is_a_usage_error(tmp_path: Path) -> None:
    assert init(tmp_path / "missing")[0] == 2


def test_init_prints_colliding_names_with_file_and_line_before_it_writes(tmp_path: Path, migrations: Path) -> None:
    migration = migrations / "20200102000000_mine.sql"
    names = [one for one in created_names(BUNDLED) if one.name.schema in ("public", "storage") or not one.name.schema]
    kinds = {one.name.kind: one.name for one in names}
    table, policy, function = kinds["table"], kinds["policy"], kinds["function"]
    migration.write_text(
        f"create table fine ();\n\ncreate view {table.name} as select 1;\n"
        f"create function {function.name}(a int) returns int as $$ select 1 $$ language sql;\n"
        f'create policy "{policy.name}" on {policy.schema}.{policy.table} for select using (true);\n'
        "insert into storage.buckets (id, name) values ('mine', 'mine'), ('smelt-audio', 'mine');\n"
        "create schema if not exists smelt;\n"
    )
    code, printed = init(tmp_path)
    assert code == 2
    for line, name in enumerate(
        (f"view public.{table.name}", f"function public.{function.name}", str(policy), "bucket smelt-audio"), start=3
    ):
        assert f"{migration}:{line}: {name} is also created by smelt's" in printed
    assert f"{migration}:7: schema smelt" in printed
    assert "5 names" in printed
    assert not any((migrations / path.name).exists() for path in BUNDLED)
    code, printed = init(tmp_path, "--force")
    assert code == 0
    assert f"{migration}:3: " in printed
    assert all((migrations / path.name).exists() for path in BUNDLED)


def test_init_ignores_collisions_with_earlier_migrations_of_smelt(tmp_path: Path, migrations: Path) -> None:
    init(tmp_path)
    (migrations / BUNDLED[0].name).write_text(BUNDLED[0].read_text() + "-- changed by hand")
    assert init(tmp_path)[0] == 0

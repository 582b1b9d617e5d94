"""What `smelt init` does to a project, and what it leaves alone."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from smelt.cli import app
from smelt.cli.bundled_migrations import migration_files, version_of

OURS = migration_files()


def init(folder: Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["init", str(folder)])
    return done.exit_code, " ".join(done.output.split())


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    """The migrations of a project that has some of its own."""
    folder = tmp_path / "supabase" / "migrations"
    folder.mkdir(parents=True)
    (tmp_path / "supabase" / "config.toml").write_text("")
    (folder / "20200101000000_mine.sql").write_text("select 1;")
    return folder


def test_init_adds_the_migrations_to_the_project(tmp_path: Path, migrations: Path) -> None:
    code, said = init(tmp_path)
    assert code == 0
    assert "1. supabase db push applies" in said
    assert {path.name for path in migrations.iterdir()} == {path.name for path in OURS} | {"20200101000000_mine.sql"}
    assert all((migrations / path.name).read_bytes() == path.read_bytes() for path in OURS)


def test_init_accepts_the_supabase_folder(tmp_path: Path, migrations: Path) -> None:
    code, said = init(migrations.parent)
    assert code == 0
    assert "1. supabase db push applies" in said
    assert len([*migrations.iterdir()]) == len(OURS) + 1
    assert not (migrations.parent / "supabase").exists()


def test_init_is_idempotent(tmp_path: Path, migrations: Path) -> None:
    init(tmp_path)
    code, said = init(tmp_path)
    assert code == 0
    assert f"0 migrations added in {migrations}, {len(OURS)} were there." in said


def test_init_keeps_a_changed_migration(tmp_path: Path, migrations: Path) -> None:
    changed = migrations / OURS[3].name
    changed.write_text("-- changed by hand")
    code, said = init(tmp_path)
    assert code == 0
    assert changed.read_text() == "-- changed by hand"
    assert f"{changed.name} is not as smelt has it" in said
    assert (migrations / OURS[4].name).exists()


def test_init_rejects_a_taken_version_before_writing(tmp_path: Path, migrations: Path) -> None:
    taken = migrations / f"{version_of(OURS[5])}_mine.sql"
    taken.write_text("select 2;")
    code, _ = init(tmp_path)
    assert code == 2
    assert not any((migrations / path.name).exists() for path in OURS)


def test_init_advises_include_all_for_newer_migrations(tmp_path: Path, migrations: Path) -> None:
    """The CLI refuses to insert a migration before one that it has applied."""
    (migrations / "99990101000000_mine.sql").write_text("select 3;")
    assert "supabase db push --include-all" in init(tmp_path)[1]


def test_init_advises_supabase_init_without_a_project(tmp_path: Path) -> None:
    code, said = init(tmp_path)
    assert code == 0
    assert "1. supabase init" in said


def test_init_of_a_missing_folder_is_a_usage_error(tmp_path: Path) -> None:
    assert init(tmp_path / "missing")[0] == 2

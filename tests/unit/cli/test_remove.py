"""`smelt remove` writes one migration, into projects that have smelt."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from smelt.cli import app
from smelt.cli.bundled_migrations import migration_files, version_of


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, " ".join(f"{done.output} {done.exception or ''}".split())


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    """The migrations folder of a project with smelt."""
    assert run("init", str(tmp_path))[0] == 0
    return tmp_path / "supabase" / "migrations"


def test_remove_writes_a_migration_after_those_of_smelt(tmp_path: Path, migrations: Path) -> None:
    code, printed = run("remove", str(tmp_path))
    assert code == 0, printed
    (written,) = migrations.glob("*_remove_smelt.sql")
    assert version_of(written) > version_of(migration_files()[-1])
    assert "drop schema smelt cascade" in written.read_text()


def test_remove_rejects_a_project_without_smelt_and_a_second_removal(tmp_path: Path, migrations: Path) -> None:
    assert run("remove", str(tmp_path))[0] == 0
    code, printed = run("remove", str(tmp_path))
    assert code != 0
    assert "removes smelt already" in printed
    other = tmp_path / "other"
    other.mkdir()
    code, printed = run("remove", str(other))
    assert code != 0
    assert "nothing to remove" in printed
    assert not [*other.iterdir()]

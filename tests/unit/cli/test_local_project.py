"""The choice of the project that `smelt local` runs."""

from pathlib import Path

import pytest

from smelt.cli.local import chosen_project
from smelt.distribution import supabase_folder
from smelt.errors import PermanentError


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_local_project_defaults_to_the_one_of_smelt() -> None:
    assert chosen_project(None) == supabase_folder()


def test_local_project_is_found_in_the_working_directory(working_directory: Path) -> None:
    (working_directory / "supabase" / "migrations").mkdir(parents=True)
    assert chosen_project(None) == working_directory / "supabase"


def test_local_project_can_be_named_by_either_folder(working_directory: Path) -> None:
    project = working_directory / "app" / "supabase"
    project.mkdir(parents=True)
    (project / "config.toml").touch()
    assert chosen_project(Path("app")) == chosen_project(Path("app") / "supabase") == project


def test_local_project_rejects_a_folder_without_a_project(working_directory: Path) -> None:
    (working_directory / "supabase").mkdir()
    with pytest.raises(PermanentError, match="not a Supabase project"):
        chosen_project(working_directory)

"""Released SQL never changes: databases have run it. A change is a new file."""

import re
import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from smelt.distribution import supabase_folder
from smelt.local.database.schemas import PLATFORM

MIGRATIONS = supabase_folder() / "migrations"


def released_checksums(folder: Path) -> dict[str, str]:
    """Return the checksums of the released files by their names; the list has the format of `sha256sum`."""
    lines = folder.with_name(f"released-{folder.name}.sha256").read_text(encoding="utf-8").splitlines()
    checksums = (line.split() for line in lines if not line.startswith("#"))
    return {path.removeprefix(f"{folder.name}/"): digest for digest, path in checksums}


def faults(folder: Path) -> Iterator[str]:
    """Yield a sentence for each released file that is missing or changed, and each new one that is too old."""
    released = released_checksums(folder)
    for name, digest in released.items():
        path = folder / name
        if not path.is_file() or sha256(path.read_bytes()).hexdigest() != digest:
            yield f"{name} is released, and databases have run it: restore it, and add a new file instead"
    for name in sorted(path.name for path in folder.glob("*.sql")):
        if name not in released and name < max(released):
            yield f"{name} is older than {max(released)}, which is released: give it a version above all others"


@pytest.mark.parametrize(("folder", "min_count"), [(MIGRATIONS, 16), (PLATFORM, 5)])
def test_released_sql_is_unchanged(folder: Path, min_count: int) -> None:
    assert len(released_checksums(folder)) >= min_count
    assert list(faults(folder)) == []


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    """A copy of the migrations and their checksums."""
    return shutil.copytree(supabase_folder(), tmp_path / "supabase") / "migrations"


def _change(migrations: Path) -> None:
    path = min(migrations.glob("*.sql"))
    path.write_text(f"{path.read_text(encoding='utf-8')}\n-- Changed.\n", encoding="utf-8")


def _rename(migrations: Path) -> None:
    path = migrations / max(released_checksums(migrations))
    path.rename(path.with_name("20991231000000_renamed.sql"))


def _insert(migrations: Path) -> None:
    (migrations / "20261120000150_between.sql").touch()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (_change, "20261120000100_states_and_codes.sql is released.*add a new file"),
        (_rename, "is released.*add a new file"),
        (_insert, "20261120000150_between.sql is older than"),
    ],
)
def test_released_migration_that_changes_is_reported(
    migrations: Path, change: Callable[[Path], None], fault: str
) -> None:
    change(migrations)
    [found] = faults(migrations)
    assert re.search(fault, found)


def test_new_migration_is_accepted(migrations: Path) -> None:
    (migrations / "20991231000000_new.sql").touch()
    assert list(faults(migrations)) == []

"""The migrations of a release never change: databases have applied them. A change is a new migration."""

import re
import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from smelt.distribution import supabase_folder

CHECKSUMS = "released-migrations.sha256"


def released_checksums(supabase: Path) -> dict[str, str]:
    """Return the checksums of the released migrations by their paths; the file has the format of `sha256sum`."""
    lines = (supabase / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    return {path: digest for digest, path in (line.split() for line in lines if not line.startswith("#"))}


def faults(supabase: Path) -> Iterator[str]:
    """Yield a sentence for each released migration that is missing or changed, and each new one that is too old."""
    released = released_checksums(supabase)
    for name, digest in released.items():
        path = supabase / name
        if not path.is_file() or sha256(path.read_bytes()).hexdigest() != digest:
            yield f"{name} is released, and databases have applied it: restore it, and add a new migration instead"
    for path in sorted((supabase / "migrations").glob("*.sql")):
        name = f"migrations/{path.name}"
        if name not in released and name < max(released):
            yield f"{name} is older than {max(released)}, which is released: give it a version above all others"


def test_released_migrations_are_unchanged() -> None:
    assert len(released_checksums(supabase_folder())) >= 16
    assert list(faults(supabase_folder())) == []


def _change(migrations: Path) -> None:
    path = min(migrations.glob("*.sql"))
    path.write_text(f"{path.read_text(encoding='utf-8')}\n-- Changed.\n", encoding="utf-8")


def _rename(migrations: Path) -> None:
    path = max(migrations.glob("*.sql"))
    path.rename(path.with_name("20991231000000_renamed.sql"))


def _insert(migrations: Path) -> None:
    (migrations / "20261120000150_between.sql").touch()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (_change, "20261120000100_states_and_codes.sql is released.*add a new migration"),
        (_rename, "20261120001600_webhooks.sql is released.*add a new migration"),
        (_insert, "20261120000150_between.sql is older than"),
    ],
)
def test_released_migration_that_changes_is_reported(
    tmp_path: Path, change: Callable[[Path], None], fault: str
) -> None:
    copied = shutil.copytree(supabase_folder(), tmp_path / "supabase")
    change(copied / "migrations")
    [found] = faults(copied)
    assert re.search(fault, found)


def test_new_migration_is_accepted(tmp_path: Path) -> None:
    copied = shutil.copytree(supabase_folder(), tmp_path / "supabase")
    (copied / "migrations" / "20991231000000_new.sql").touch()
    assert list(faults(copied)) == []

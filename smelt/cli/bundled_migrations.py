"""The migrations that are installed with smelt."""

from pathlib import Path

from smelt.distribution import supabase_folder
from smelt.errors import PermanentError


def migration_files() -> list[Path]:
    """Return smelt's migrations, ordered by version."""
    if files := sorted((supabase_folder() / "migrations").glob("*.sql")):
        return files
    raise PermanentError("smelt's migrations are missing from this installation: reinstall smelt")


def version_of(migration: Path) -> str:
    """Return the version of a migration, which identifies it in the project's migration history."""
    return migration.name.partition("_")[0]

"""The migrations that are installed with smelt."""

from pathlib import Path

from smelt.errors import PermanentError


def migration_files() -> list[Path]:
    """Return smelt's migrations, ordered by version: from the package if installed, from beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "supabase", package.parent / "supabase"):
        if files := sorted((folder / "migrations").glob("*.sql")):
            return files
    raise PermanentError("smelt's migrations are missing from this installation: reinstall smelt")


def version_of(migration: Path) -> str:
    """Return the version of a migration, which identifies it in the project's migration history."""
    return migration.name.partition("_")[0]

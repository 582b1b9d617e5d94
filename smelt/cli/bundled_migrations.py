"""The migrations that this installation of smelt brings along."""

from pathlib import Path

from smelt.errors import PermanentError


def migration_files() -> list[Path]:
    """Smelt's migrations in the order of their versions: in the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "supabase", package.parent / "supabase"):
        if files := sorted((folder / "migrations").glob("*.sql")):
            return files
    raise PermanentError("smelt's migrations are missing from this installation; install it again")


def version_of(migration: Path) -> str:
    """What the history of a project knows a migration by."""
    return migration.name.partition("_")[0]

"""A Supabase project folder: what it sets, its migrations, its seed; and applying them as the Supabase CLI does."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import psycopg

from smelt.local.errors import LocalPermanentError

MIGRATION_NAME: Final = re.compile(r"([0-9]+)_(.*)\.sql")
SIZE: Final = re.compile(r"(?i)\s*([0-9]+)\s*([kmg]?)(i?)b?\s*")
DEFAULT_FILE_SIZE_LIMIT: Final = 500 * 1024**2
DEFAULT_MAX_BODY_BYTES: Final = 16 * 1024**2
"""Of requests to `/rest/v1`. The platform has no such limit; this one keeps PostgREST, which needs 70 times the size of
nested JSON, from taking the memory of the machine. Twice the longest that smelt sends: the segments of a recording of
six hours, with the times of its words, in one report."""

HISTORY: Final = """
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (
    version text not null primary key, statements text[], name text
);
"""


@dataclass(frozen=True)
class Migration:
    """One file of `migrations/`; `version` is what the history knows it by."""

    version: str
    name: str
    text: str


@dataclass(frozen=True, kw_only=True)
class AuthRules:
    """What `[auth]` sets: who may sign up, how long a password has to be, and how long tokens live.

    `opaque_key_lifetime_s` is that of the tokens that the gateway puts in the place of `sb_...` keys, None for years.
    It is set by `opaque_key_jwt_expiry`, since the CLI has no name for it.
    """

    allows_sign_up: bool = True
    allows_anonymous: bool = True
    password_min_characters: int = 6
    token_lifetime_s: int = 3600
    opaque_key_lifetime_s: int | None = None

    @classmethod
    def read(cls, auth: Mapping[str, Any]) -> "AuthRules":
        """Read the section of `config.toml`."""
        opaque_key_expiry = auth.get("opaque_key_jwt_expiry")
        return cls(
            allows_sign_up=bool(auth.get("enable_signup", cls.allows_sign_up)),
            allows_anonymous=bool(auth.get("enable_anonymous_sign_ins", cls.allows_anonymous)),
            password_min_characters=int(auth.get("minimum_password_length", cls.password_min_characters)),
            token_lifetime_s=int(auth.get("jwt_expiry", cls.token_lifetime_s)),
            opaque_key_lifetime_s=None if opaque_key_expiry is None else int(opaque_key_expiry),
        )


@dataclass(frozen=True, kw_only=True)
class RealtimeLimits:
    """What `[realtime]` sets, by the platform's names, since the CLI has none for it: messages that are sent and
    delivered, and joins, of all clients in a second. The defaults are the free plan's.
    """

    max_events_per_s: int = 100
    max_joins_per_s: int = 100

    @classmethod
    def read(cls, realtime: Mapping[str, Any]) -> "RealtimeLimits":
        """Read the section of `config.toml`."""
        return cls(
            max_events_per_s=int(realtime.get("max_events_per_second", cls.max_events_per_s)),
            max_joins_per_s=int(realtime.get("max_joins_per_second", cls.max_joins_per_s)),
        )


@dataclass(frozen=True, kw_only=True)
class ProjectFiles:
    """What a `supabase/` folder says, as far as the embedded stack follows it."""

    migrations: tuple[Migration, ...] = ()
    seed: str = ""
    api_port: int = 54321
    db_port: int = 54322
    schemas: tuple[str, ...] = ("public", "graphql_public")
    extra_search_path: tuple[str, ...] = ("public", "extensions")
    max_rows: int = 1000
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES
    file_size_limit: int = DEFAULT_FILE_SIZE_LIMIT
    auth: AuthRules = AuthRules()
    realtime: RealtimeLimits = RealtimeLimits()

    @classmethod
    def read(cls, folder: Path) -> "ProjectFiles":
        """Read a folder with `config.toml`, `migrations/` and `seed.sql`, each of which may be missing."""
        if not folder.is_dir():
            raise LocalPermanentError(f"there is no folder {folder} with migrations")
        settings = _read_settings(folder / "config.toml")
        try:
            return cls._parse(folder, settings)
        except (AttributeError, TypeError, ValueError) as exc:
            raise LocalPermanentError(f"{folder} can't be read as a Supabase project: {exc}") from exc

    @classmethod
    def _parse(cls, folder: Path, settings: dict[str, Any]) -> "ProjectFiles":
        sections = ("api", "db", "storage", "auth", "realtime")
        api, db, storage, auth, realtime = (settings.get(section, {}) for section in sections)
        return cls(
            migrations=_read_migrations(folder / "migrations"),
            seed=_read_seed(folder, db.get("seed", {})),
            api_port=int(api.get("port", cls.api_port)),
            db_port=int(db.get("port", cls.db_port)),
            schemas=tuple(api.get("schemas", cls.schemas)),
            extra_search_path=tuple(api.get("extra_search_path", cls.extra_search_path)),
            max_rows=int(api.get("max_rows", cls.max_rows)),
            max_body_bytes=_size_bytes(api.get("max_body_size", cls.max_body_bytes), "api.max_body_size"),
            file_size_limit=_size_bytes(storage.get("file_size_limit", cls.file_size_limit), "storage.file_size_limit"),
            auth=AuthRules.read(auth),
            realtime=RealtimeLimits.read(realtime),
        )

    def fingerprint(self) -> str:
        """Answer what changes when a migration or the seed does."""
        digest = sha256()
        for migration in self.migrations:
            digest.update(f"{migration.version}\0{migration.name}\0{migration.text}\0".encode())
        digest.update(self.seed.encode())
        return digest.hexdigest()


def find() -> Path:
    """Answer the folder with smelt's own migrations: in the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "supabase", package.parent / "supabase"):
        if (folder / "migrations").is_dir():
            return folder
    raise LocalPermanentError("smelt's migrations are missing from this installation; install it again")


async def apply(connection: psycopg.AsyncConnection[Any], migrations: Sequence[Migration]) -> int:
    """Apply in order what the history does not know, each file and its record in one transaction; answer how many.

    The history is the CLI's, so that `supabase db push` finds nothing left to do. Raises `LocalPermanentError` with Postgres's
    own message for the first file that fails.
    """
    await connection.execute(HISTORY)
    rows = await connection.execute("select version from supabase_migrations.schema_migrations")
    known = {version for (version,) in await rows.fetchall()}
    pending = [migration for migration in migrations if migration.version not in known]
    for migration in pending:
        try:
            async with connection.transaction():
                await connection.execute(migration.text.encode())
                await connection.execute(
                    "insert into supabase_migrations.schema_migrations (version, name, statements) values (%s, %s, %s)",
                    (migration.version, migration.name, [migration.text]),
                )
        except psycopg.Error as exc:
            raise LocalPermanentError(
                f"migration {migration.version}_{migration.name}.sql fails: {_told(exc)}"
            ) from exc
        await _forget_session_settings(connection)
    return len(pending)


async def seed(connection: psycopg.AsyncConnection[Any], text: str) -> None:
    """Run the seed in one transaction; raise `LocalPermanentError` if it fails."""
    if not text.strip():
        return
    try:
        async with connection.transaction():
            await connection.execute(text.encode())
    except psycopg.Error as exc:
        raise LocalPermanentError(f"seed.sql fails: {_told(exc)}") from exc


async def _forget_session_settings(connection: psycopg.AsyncConnection[Any]) -> None:
    # A file that sets a role or a search_path sets it for itself.
    await connection.execute("reset role")
    await connection.execute("reset all")


def _told(error: psycopg.Error) -> str:
    told = error.diag.message_primary or str(error)
    if error.diag.source_file == "extension.c":
        return f"{told}; the embedded stack has no extensions, `supabase start` has them"
    return told


def _read_migrations(folder: Path) -> tuple[Migration, ...]:
    found = (
        Migration(match[1], match[2], path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.sql"))
        if (match := MIGRATION_NAME.fullmatch(path.name))
    )
    return tuple(sorted(found, key=lambda migration: migration.version))


def _read_seed(folder: Path, declared: dict[str, Any]) -> str:
    if not declared.get("enabled", True):
        return ""
    paths = (path for pattern in declared.get("sql_paths", ["./seed.sql"]) for path in sorted(folder.glob(pattern)))
    return "\n".join(path.read_text(encoding="utf-8") for path in paths)


def _read_settings(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as exc:
        raise LocalPermanentError(f"{path} is no TOML: {exc}") from exc


def _size_bytes(declared: str | int, setting: str) -> int:
    match = SIZE.fullmatch(str(declared))
    if match is None:
        raise LocalPermanentError(f"{setting} in config.toml wants a size such as 50MiB, not {declared!r}")
    base = 1024 if match[3] else 1000
    factor: int = base ** ("", "k", "m", "g").index(match[2].lower())
    return int(match[1]) * factor

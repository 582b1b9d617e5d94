"""Reads a Supabase project folder: the settings, migrations and seed that the embedded stack uses."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from smelt.local.errors import LocalPermanentError
from smelt.local.ignored_settings import ignored_settings

MIGRATION_NAME: Final = re.compile(r"([0-9]+)_(.*)\.sql")
SIZE: Final = re.compile(r"(?i)\s*([0-9]+)\s*([kmg]?)(i?)b?\s*")
DEFAULT_FILE_SIZE_LIMIT: Final = 50 * 1024**2
DEFAULT_MAX_BODY_BYTES: Final = 16 * 1024**2
"""Limit for requests to `/rest/v1`. The platform has none. PostgREST needs 70 times the size of nested JSON, so this
limit protects the memory of the machine. It is twice the largest request of smelt: one report with all segments and
word timings of a recording of six hours."""

_LOWER: Final = "abcdefghijklmnopqrstuvwxyz"
_UPPER: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGITS: Final = "0123456789"
PASSWORD_CHARACTERS: Final[Mapping[str, tuple[str, ...]]] = {
    "": (),
    "letters_digits": (_LOWER + _UPPER, _DIGITS),
    "lower_upper_letters_digits": (_LOWER, _UPPER, _DIGITS),
    "lower_upper_letters_digits_symbols": (_LOWER, _UPPER, _DIGITS, "!@#$%^&*()_+-=[]{};'\\:\"|<>?,./`~"),
}
"""The values of `password_requirements`."""

DATABASE_HOOK: Final = re.compile(r"pg-functions://[^/]+/([^/]+)/([^/]+)")


@dataclass(frozen=True)
class Migration:
    """One file of `migrations/`; `version` identifies it in the history."""

    version: str
    name: str
    text: str


@dataclass(frozen=True, kw_only=True)
class AuthRules:
    """The settings of `[auth]`: allowed sign-ups, the rules for passwords, and the lifetime of tokens.

    A password contains at least one of each of `password_characters`. `token_hook` is the schema and the name of the
    function that returns the claims of access tokens.

    `opaque_key_lifetime_s` is the lifetime of the tokens that replace `sb_...` keys in the gateway; None means years.
    Its setting is `opaque_key_jwt_expiry`, an addition to those of the CLI.
    """

    allows_sign_up: bool = True
    allows_anonymous: bool = False
    allows_email: bool = True
    confirms_email: bool = False
    password_min_characters: int = 6
    password_characters: tuple[str, ...] = ()
    token_lifetime_s: int = 3600
    token_reuse_interval_s: int = 10
    otp_characters: int = 6
    otp_lifetime_s: int = 3600
    opaque_key_lifetime_s: int | None = None
    token_hook: tuple[str, str] | None = None
    site_url: str = "http://127.0.0.1:3000"
    redirect_urls: tuple[str, ...] = ()

    @classmethod
    def read(cls, auth: Mapping[str, Any]) -> "AuthRules":
        """Read the section of `config.toml`."""
        opaque_key_expiry = auth.get("opaque_key_jwt_expiry")
        email = auth.get("email", {})
        return cls(
            allows_sign_up=bool(auth.get("enable_signup", cls.allows_sign_up)),
            allows_anonymous=bool(auth.get("enable_anonymous_sign_ins", cls.allows_anonymous)),
            # The second one is the name in newer versions of the CLI.
            allows_email=bool(email.get("enable_signup", True)) and bool(email.get("enabled", True)),
            confirms_email=bool(email.get("enable_confirmations", cls.confirms_email)),
            password_min_characters=int(auth.get("minimum_password_length", cls.password_min_characters)),
            password_characters=_password_characters(auth.get("password_requirements", "")),
            token_lifetime_s=int(auth.get("jwt_expiry", cls.token_lifetime_s)),
            token_reuse_interval_s=int(auth.get("refresh_token_reuse_interval", cls.token_reuse_interval_s)),
            otp_characters=int(email.get("otp_length", cls.otp_characters)),
            otp_lifetime_s=int(email.get("otp_expiry", cls.otp_lifetime_s)),
            site_url=str(auth.get("site_url", cls.site_url)),
            redirect_urls=tuple(auth.get("additional_redirect_urls", cls.redirect_urls)),
            token_hook=_database_hook(auth.get("hook", {}).get("custom_access_token", {})),
            opaque_key_lifetime_s=None if opaque_key_expiry is None else int(opaque_key_expiry),
        )


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A section of `[storage.buckets]`; `mime_types` is None for any."""

    name: str
    public: bool
    file_size_limit: int
    mime_types: tuple[str, ...] | None

    @classmethod
    def read(cls, name: str, bucket: Mapping[str, Any], default_limit: int) -> "Bucket":
        """Read the section of a bucket."""
        mime_types = bucket.get("allowed_mime_types")
        return cls(
            name=name,
            public=bool(bucket.get("public", False)),
            file_size_limit=_size_bytes(
                bucket.get("file_size_limit", default_limit), f"storage.buckets.{name}.file_size_limit"
            ),
            mime_types=tuple(mime_types) if mime_types else None,
        )


@dataclass(frozen=True, kw_only=True)
class RealtimeLimits:
    """The settings of `[realtime]`, with the platform's names, since the CLI has none: the messages sent and delivered,
    and the joins, of all clients per second. The defaults are those of the free plan.
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
    """The contents of a `supabase/` folder that the embedded stack uses, and the names of ignored settings."""

    migrations: tuple[Migration, ...] = ()
    seed: str = ""
    api_port: int = 54321
    db_port: int = 54322
    schemas: tuple[str, ...] = ("public", "graphql_public")
    extra_search_path: tuple[str, ...] = ("public", "extensions")
    max_rows: int = 1000
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    file_size_limit: int = DEFAULT_FILE_SIZE_LIMIT
    buckets: tuple[Bucket, ...] = ()
    auth: AuthRules = AuthRules()
    realtime: RealtimeLimits = RealtimeLimits()
    ignored: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> "ProjectFiles":
        """Read a folder with `config.toml`, `migrations/` and `seed.sql`, each of which may be missing."""
        if not folder.is_dir():
            raise LocalPermanentError(f"{folder} is not a folder; choose a folder with `migrations/`")
        settings = _read_settings(folder / "config.toml")
        try:
            return cls._parse(folder, settings)
        except (AttributeError, TypeError, ValueError) as exc:
            raise LocalPermanentError(f"cannot read {folder} as a Supabase project: {exc}") from exc

    @classmethod
    def _parse(cls, folder: Path, settings: dict[str, Any]) -> "ProjectFiles":
        sections = ("api", "db", "storage", "auth", "realtime")
        api, db, storage, auth, realtime = (settings.get(section, {}) for section in sections)
        file_size_limit = _size_bytes(storage.get("file_size_limit", cls.file_size_limit), "storage.file_size_limit")
        buckets = storage.get("buckets", {}).items()
        return cls(
            migrations=_read_migrations(folder / "migrations"),
            seed=_read_seed(folder, db.get("seed", {})),
            api_port=int(api.get("port", cls.api_port)),
            db_port=int(db.get("port", cls.db_port)),
            schemas=tuple(api.get("schemas", cls.schemas)),
            extra_search_path=tuple(api.get("extra_search_path", cls.extra_search_path)),
            max_rows=int(api.get("max_rows", cls.max_rows)),
            max_body_bytes=_size_bytes(api.get("max_body_size", cls.max_body_bytes), "api.max_body_size"),
            allowed_hosts=tuple(api.get("allowed_hosts", cls.allowed_hosts)),
            allowed_origins=tuple(api.get("allowed_origins", cls.allowed_origins)),
            file_size_limit=file_size_limit,
            buckets=tuple(Bucket.read(name, bucket, file_size_limit) for name, bucket in buckets),
            auth=AuthRules.read(auth),
            realtime=RealtimeLimits.read(realtime),
            ignored=ignored_settings(settings),
        )

    def fingerprint(self) -> str:
        """Return a hash of the migrations, the seed and the buckets."""
        digest = sha256()
        for migration in self.migrations:
            digest.update(f"{migration.version}\0{migration.name}\0{migration.text}\0".encode())
        digest.update(self.seed.encode())
        digest.update(repr(self.buckets).encode())
        return digest.hexdigest()


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
        raise LocalPermanentError(f"{path} is not valid TOML: {exc}") from exc


def _password_characters(requirements: str) -> tuple[str, ...]:
    try:
        return PASSWORD_CHARACTERS[requirements]
    except KeyError as exc:
        raise LocalPermanentError(
            f"auth.password_requirements in config.toml must be one of {', '.join(filter(None, PASSWORD_CHARACTERS))}, "
            f"not {requirements!r}"
        ) from exc


def _database_hook(hook: Mapping[str, Any]) -> tuple[str, str] | None:
    match = DATABASE_HOOK.fullmatch(str(hook.get("uri", ""))) if hook.get("enabled", False) else None
    return None if match is None else (match[1], match[2])


def _size_bytes(declared: str | int, setting: str) -> int:
    match = SIZE.fullmatch(str(declared))
    if match is None:
        raise LocalPermanentError(f"{setting} in config.toml must be a size such as 50MiB, not {declared!r}")
    base = 1024 if match[3] else 1000
    factor: int = base ** ("", "k", "m", "g").index(match[2].lower())
    return int(match[1]) * factor

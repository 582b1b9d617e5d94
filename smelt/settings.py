"""What the environment (and a `.env` in the current folder) says; read by the command line and the gateway alone."""

from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from smelt.errors import SettingsError


class Environment(BaseSettings):
    """Settings that end a start with one sentence when they are wrong."""

    model_config = SettingsConfigDict(env_file=".env", env_prefix="SMELT_", env_ignore_empty=True, extra="ignore")

    @classmethod
    def read(cls) -> Self:
        """Read the environment; raises `SettingsError` naming each variable that is wrong."""
        try:
            return cls()
        except ValidationError as exc:
            raise SettingsError(
                "; ".join(_sentence(cls, error["loc"], error["msg"]) for error in exc.errors())
            ) from exc
        except (OSError, UnicodeDecodeError) as exc:
            raise SettingsError(f".env can't be read: {exc}") from exc


def _sentence(cls: type[Environment], location: tuple[int | str, ...], reason: str) -> str:
    name = str(location[0])
    field = cls.model_fields.get(name)
    variable = name if field is None else f"SMELT_{name}".upper()
    return f"{variable} is wrong: {reason}"


class ProjectSettings(Environment):
    """Which Supabase project, and as whom."""

    url: str | None = Field(None, validation_alias="SUPABASE_URL")
    anon_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("SUPABASE_ANON_KEY", "SUPABASE_PUBLISHABLE_KEY")
    )
    service_role_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_SECRET_KEY")
    )
    access_token: SecretStr | None = None
    polling: bool = True

    def require_url(self) -> str:
        """The project's URL, or `SettingsError`."""
        if self.url is None:
            raise SettingsError(
                "SUPABASE_URL is not set: put your project's URL there, or run `smelt local start` "
                "and `smelt local status -o env > .env`"
            )
        try:
            parts = urlsplit(self.url)
            known = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError as exc:  # Brackets around no address, or a port beyond all ports.
            raise SettingsError(f"SUPABASE_URL is no URL: {exc}") from exc
        if not known:
            raise SettingsError(f"SUPABASE_URL wants http:// or https:// and a host, not {self.url!r}")
        if parts.path.startswith("/rest/"):
            raise SettingsError(f"SUPABASE_URL wants the project's URL alone, without {parts.path}")
        return self.url.rstrip("/")

    def require_client_key(self) -> str:
        """The key of an app, or `SettingsError`."""
        if self.anon_key is None:
            raise SettingsError("SUPABASE_ANON_KEY (or SUPABASE_PUBLISHABLE_KEY) is not set")
        return self.anon_key.get_secret_value()

    def require_worker_key(self) -> str:
        """The key of a worker, or `SettingsError`."""
        if self.service_role_key is None:
            raise SettingsError(
                "SUPABASE_SERVICE_ROLE_KEY (or SUPABASE_SECRET_KEY) is not set: a worker needs it, and nobody else"
            )
        return self.service_role_key.get_secret_value()


class WorkerSettings(Environment):
    """How a worker works; sizes in what their names say."""

    model: str = "demo"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    compute_type: str = "default"
    model_idle_s: Annotated[float | None, Field(gt=0)] = None
    batch_size: Annotated[int, Field(ge=0)] = 0
    beam_size: Annotated[int, Field(ge=1, le=20)] = 5
    word_times: bool = False
    concurrency: Annotated[int, Field(ge=1)] = 2
    lease_s: Annotated[int, Field(ge=5, le=3600)] = 30
    drain_s: Annotated[float, Field(ge=0)] = 25.0
    temp_dir: Path | None = None
    llm_base_url: str | None = None
    llm_api_key: SecretStr | None = None
    llm_model: str | None = None
    llm_context_tokens: Annotated[int, Field(ge=1024)] = 16_384
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int | None, Field(ge=0, le=65535)] = None


class CaptionSettings(Environment):
    """How `smelt show` and `smelt demo` lay out captions."""

    caption_line_chars: Annotated[int, Field(ge=8)] = 42
    caption_lines: Annotated[int, Field(ge=1)] = 2


class LogSettings(Environment):
    """How a worker tells what it does; the level is that of smelt's own lines."""

    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_lower_case(cls, level: object) -> object:
        return level.lower() if isinstance(level, str) else level

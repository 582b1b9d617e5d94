"""Settings from the environment and a `.env` in the current folder; read by the command line alone."""

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from smelt.errors import SettingsError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from smelt.transcripts.captions import CaptionLayout

T = TypeVar("T")


class Environment(BaseSettings):
    """Base class of settings; invalid ones end the start with one sentence."""

    model_config = SettingsConfigDict(env_file=".env", env_prefix="SMELT_", env_ignore_empty=True, extra="ignore")

    @classmethod
    def read(cls) -> Self:
        """Read the environment; raise `SettingsError` that names each invalid variable."""
        try:
            return cls()
        except ValidationError as exc:
            raise SettingsError(
                "; ".join(_sentence(cls, error["loc"], error["msg"]) for error in exc.errors())
            ) from exc
        except (OSError, UnicodeDecodeError) as exc:
            raise SettingsError(f".env cannot be read: {exc}") from exc

    def values_of(self, options: type["DataclassInstance"]) -> dict[str, Any]:
        """Return the values of the settings that are fields of `options`, without those that are not set."""
        names = {field.name for field in fields(options)}
        values = {name: value for name, value in self if name in names and value is not None}
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in values.items()
        }


def _sentence(cls: type[Environment], location: tuple[int | str, ...], reason: str) -> str:
    name = str(location[0])
    field = cls.model_fields.get(name)
    variable = name if field is None else f"SMELT_{name}".upper()
    return f"{variable} is invalid: {reason}"


def _project_url(variable: str, url: str) -> str:
    """Return the URL of a project without a slash at the end; raise `SettingsError` if it is invalid."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError as exc:  # Brackets without an address, or a port out of range.
        raise SettingsError(f"{variable} is not a URL: {exc}") from exc
    if not known:
        raise SettingsError(f"{variable} needs http:// or https:// and a host, not {url!r}")
    if parts.path.startswith("/rest/"):
        raise SettingsError(f"{variable} needs the project's URL without {parts.path}")
    return url.rstrip("/")


class ProjectSettings(Environment):
    """The Supabase project, and the keys or token to call it with."""

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
        """Return the project's URL; raise `SettingsError` if it is missing or invalid."""
        if self.url is None:
            raise SettingsError(
                "SUPABASE_URL is not set: put your project's URL there, or run `smelt local start` "
                "and `smelt local status -o env > .env`"
            )
        return _project_url("SUPABASE_URL", self.url)

    def require_client_key(self) -> str:
        """Return the anon or publishable key; raise `SettingsError` if it is not set."""
        if self.anon_key is None:
            raise SettingsError("SUPABASE_ANON_KEY (or SUPABASE_PUBLISHABLE_KEY) is not set")
        return self.anon_key.get_secret_value()

    def require_worker_key(self) -> str:
        """Return the service-role or secret key; raise `SettingsError` if it is not set."""
        if self.service_role_key is None:
            raise SettingsError(
                "SUPABASE_SERVICE_ROLE_KEY (or SUPABASE_SECRET_KEY) is not set: only workers and operators need it"
            )
        return self.service_role_key.get_secret_value()


def _parts(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Separated = Annotated[tuple[T, ...], NoDecode, BeforeValidator(_parts)]
"""Values that are separated by commas."""
SigningKey = Annotated[SecretStr, Field(min_length=32)]


class WorkerSettings(Environment):
    """Settings of a worker; units are part of the names."""

    host: Annotated[str | None, Field(max_length=200)] = None
    model: str = "demo"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    compute_type: str = "default"
    cpu_threads: Annotated[int | None, Field(ge=1)] = None
    model_lanes: Annotated[int | None, Field(ge=1)] = None
    model_idle_s: Annotated[float | None, Field(gt=0)] = None
    batch_size: Annotated[int, Field(ge=0)] = 0
    beam_size: Annotated[int, Field(ge=1, le=20)] = 5
    word_times: bool = False
    speaker_model: Path | None = None
    concurrency: Annotated[int | None, Field(ge=1)] = None
    lease_s: Annotated[int, Field(ge=5, le=3600)] = 30
    drain_s: Annotated[float, Field(ge=0)] = 25.0
    temp_dir: Path | None = None
    llm_base_url: str | None = None
    llm_api_key: SecretStr | None = None
    llm_model: str | None = None
    llm_context_tokens: Annotated[int, Field(ge=1024)] = 16_384
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int | None, Field(ge=0, le=65535)] = None
    webhook_allow_private: bool = False
    dispatch_url: str | None = None
    dispatch_token: SecretStr | None = None
    dispatch_lease_s: Annotated[int, Field(ge=5, le=3600)] = 120
    dispatch_models: Separated[str] = ()
    gateway_url: str | None = None
    signing_keys: Separated[SigningKey] = ()


class LocalSettings(Environment):
    """Settings of the embedded stack."""

    postgrest: Path | None = None


class GatewaySettings(Environment):
    """Settings of the HTTP gateway; units are part of the names."""

    gateway_host: str = "127.0.0.1"
    gateway_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    allowed_origins: Separated[str] = ()
    trusted_proxies: Separated[str] = ()
    signing_keys: Separated[SigningKey] = ()
    gateway_max_upload_mib: Annotated[int, Field(ge=1)] = 2501
    gateway_max_uploads: Annotated[int, Field(ge=1)] = 64
    gateway_max_streams: Annotated[int, Field(ge=1)] = 1000
    gateway_max_streams_per_caller: Annotated[int, Field(ge=1)] = 20
    openai_wait_s: Annotated[float, Field(ge=1, le=3600)] = 300.0
    drain_s: Annotated[float, Field(ge=0)] = 25.0
    public_supabase_url: str | None = None

    @field_validator("public_supabase_url")
    @classmethod
    def _is_project_url(cls, url: str | None) -> str | None:
        return None if url is None else _project_url("SMELT_PUBLIC_SUPABASE_URL", url)


class CaptionSettings(Environment):
    """The caption layout of `smelt show`, `smelt demo` and the gateway."""

    caption_line_chars: Annotated[int, Field(ge=8)] = 42
    caption_lines: Annotated[int, Field(ge=1)] = 2

    def layout(self) -> "CaptionLayout":
        """Return these settings as a layout."""
        from smelt.transcripts.captions import CaptionLayout

        return CaptionLayout(line_chars=self.caption_line_chars, lines=self.caption_lines)


class LogSettings(Environment):
    """The logging of a worker and of the gateway; the level applies to smelt's own loggers."""

    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_lower_case(cls, level: object) -> object:
        return level.lower() if isinstance(level, str) else level

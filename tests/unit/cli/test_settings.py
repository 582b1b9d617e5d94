"""The settings that are read from the environment, and their errors."""

import dataclasses
import re
from contextlib import nullcontext
from pathlib import Path
from types import NoneType
from typing import get_args

import pytest
from pydantic import SecretStr

from smelt.cli.serve import gateway_options
from smelt.cli.worker import worker_options
from smelt.errors import SettingsError
from smelt.gateway.options import GatewayOptions
from smelt.processor.options import DispatchOptions, WorkerOptions
from smelt.settings import (
    CaptionSettings,
    Environment,
    GatewaySettings,
    LocalSettings,
    LogSettings,
    ProjectSettings,
    WorkerSettings,
)

EXAMPLE = (Path(__file__).parents[3] / ".env.example").read_text(encoding="utf-8")
EXAMPLE_VALUES = dict(re.findall(r"^#?(SMELT_\w+)=(.*)$", EXAMPLE, re.MULTILINE))
FIELDS = {
    f"SMELT_{name}".upper(): field
    for settings in (ProjectSettings, CaptionSettings, WorkerSettings, GatewaySettings, LocalSettings, LogSettings)
    for name, field in settings.model_fields.items()
    if field.validation_alias is None
}


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove smelt's variables, and change to a folder without a `.env` file."""
    monkeypatch.chdir(tmp_path)
    for name in FIELDS:
        monkeypatch.delenv(name, raising=False)


def test_settings_example_lists_every_setting_with_its_default() -> None:
    assert EXAMPLE_VALUES.keys() == FIELDS.keys()
    for name, field in FIELDS.items():
        optional = NoneType in get_args(field.annotation) or field.default == ()
        assert EXAMPLE_VALUES[name] == ("" if optional else str(field.default).lower().removesuffix(".0")), name


def test_settings_cover_every_worker_option() -> None:
    options = {field.name for field in dataclasses.fields(WorkerOptions)}
    dispatch = {f"dispatch_{name}" for name in ("url", "token", "lease_s", "models")} | {"gateway_url", "signing_keys"}
    assert options - {"worker_id", "dispatch"} == set(WorkerSettings.model_fields) - dispatch
    assert {field.name for field in dataclasses.fields(DispatchOptions)} == {
        name.removeprefix("dispatch_") for name in dispatch
    }


def test_settings_defaults_equal_those_of_the_worker_options() -> None:
    read = worker_options(WorkerSettings.read())
    assert read == WorkerOptions(worker_id=read.worker_id)


def test_settings_of_dispatching_reach_the_worker_options_and_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    assert worker_options(WorkerSettings.read()).dispatch is None
    for name, value in (
        ("DISPATCH_URL", "https://gpu.example/jobs"),
        ("GATEWAY_URL", "https://smelt.example"),
        ("SIGNING_KEYS", f"{'a' * 32},{'b' * 32}"),
    ):
        with pytest.raises(SettingsError, match=f"SMELT_{name}") if name != "DISPATCH_URL" else nullcontext():
            worker_options(WorkerSettings.read())
        monkeypatch.setenv(f"SMELT_{name}", value)
    monkeypatch.setenv("SMELT_DISPATCH_TOKEN", "secret")
    monkeypatch.setenv("SMELT_DISPATCH_MODELS", "large-v3, turbo")
    assert worker_options(WorkerSettings.read()).dispatch == DispatchOptions(
        url="https://gpu.example/jobs",
        token="secret",
        models=("large-v3", "turbo"),
        gateway_url="https://smelt.example",
        signing_keys=("a" * 32, "b" * 32),
    )
    monkeypatch.setenv("SMELT_DISPATCH_URL", "gpu.example")
    with pytest.raises(SettingsError, match="SMELT_DISPATCH_URL"):
        worker_options(WorkerSettings.read())


def test_settings_reach_the_worker_options(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("BEAM_SIZE", "1"), ("WORD_TIMES", "true"), ("METRICS_PORT", "0"), ("LLM_API_KEY", "secret")):
        monkeypatch.setenv(f"SMELT_{name}", value)
    options = worker_options(WorkerSettings.read())
    assert (options.beam_size, options.word_times, options.metrics_port) == (1, True, 0)
    assert options.llm_api_key == "secret"


def test_settings_defaults_equal_those_of_the_gateway_options() -> None:
    project = ProjectSettings(SUPABASE_URL="http://a", SUPABASE_ANON_KEY=SecretStr("key"), SUPABASE_SECRET_KEY=None)
    assert gateway_options(GatewaySettings.read(), project) == GatewayOptions(url="http://a", key="key")


def test_settings_of_the_gateway_have_a_url_of_the_project_for_browsers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMELT_PUBLIC_SUPABASE_URL", "https://app.example/")
    project = ProjectSettings(SUPABASE_URL="http://kong:8000", SUPABASE_ANON_KEY=SecretStr("key"))
    options = gateway_options(GatewaySettings.read(), project)
    assert (options.url, options.public_url) == ("http://kong:8000", "https://app.example")


def test_settings_of_the_gateway_separate_values_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = "a" * 32, "b" * 32
    monkeypatch.setenv("SMELT_SIGNING_KEYS", " , ".join(keys))
    monkeypatch.setenv("SMELT_ALLOWED_ORIGINS", "https://a.example,https://b.example,")
    settings = GatewaySettings.read()
    assert tuple(key.get_secret_value() for key in settings.signing_keys) == keys
    assert settings.allowed_origins == ("https://a.example", "https://b.example")
    assert keys[0] not in repr(settings)


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        (GatewaySettings, "SMELT_GATEWAY_PORT", "65536"),
        (GatewaySettings, "SMELT_SIGNING_KEYS", "short"),
        (WorkerSettings, "SMELT_BEAM_SIZE", "0"),
        (WorkerSettings, "SMELT_METRICS_PORT", "65536"),
        (WorkerSettings, "SMELT_LLM_CONTEXT_TOKENS", "many"),
        (CaptionSettings, "SMELT_CAPTION_LINES", "0"),
        (LogSettings, "SMELT_LOG_FORMAT", "xml"),
        (LogSettings, "SMELT_LOG_LEVEL", "loud"),
    ],
)
def test_settings_error_names_the_invalid_variable(
    settings: type[Environment], name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        settings.read()


@pytest.mark.parametrize(
    "url",
    [
        *("localhost:54321", "ftp://example.com", "https://", "https://ref.supabase.co/rest/v1", "http:///rest"),
        *("http://[ref]", "http://127.0.0.1:543210"),
    ],
)
def test_settings_error_names_an_invalid_supabase_url(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", url)
    with pytest.raises(SettingsError, match=r"^SUPABASE_URL"):
        ProjectSettings.read().require_url()
    monkeypatch.setenv("SMELT_PUBLIC_SUPABASE_URL", url)
    with pytest.raises(SettingsError, match=r"^SMELT_PUBLIC_SUPABASE_URL"):
        GatewaySettings.read()


@pytest.mark.parametrize("url", ["http://127.0.0.1:54321", "https://ref.supabase.co/", "https://example.com/supabase"])
def test_settings_strip_only_the_trailing_slash_of_the_url(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUPABASE_URL", url)
    assert ProjectSettings.read().require_url() == url.rstrip("/")
    monkeypatch.setenv("SMELT_PUBLIC_SUPABASE_URL", url)
    assert GatewaySettings.read().public_supabase_url == url.rstrip("/")


def test_settings_error_names_an_unreadable_env_file() -> None:
    Path(".env").write_text("SUPABASE_URL=http://127.0.0.1:54321", encoding="utf-16")
    with pytest.raises(SettingsError, match=r"\.env"):
        ProjectSettings.read()

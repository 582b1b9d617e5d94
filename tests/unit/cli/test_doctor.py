"""The checks of the doctor, their levels and the exit code."""

import dataclasses
import importlib.util
import shutil
from datetime import UTC, datetime, timedelta

import pytest

from smelt.backend.worker_rpc import Health
from smelt.cli.bundled_migrations import migration_files, version_of
from smelt.cli.checks import project
from smelt.cli.checks.machine import _disk, check_machine
from smelt.cli.checks.result import CheckResult, Level, run_check
from smelt.cli.doctor import _line, worst_exit
from smelt.cli.output import Exit
from smelt.contract.schema_version import SCHEMA_VERSION
from smelt.errors import SmeltError, Unauthorized, Unavailable
from smelt.settings import WorkerSettings
from tests.harness.patched_children import PatchedChildren

NOW = datetime(2026, 1, 2, tzinfo=UTC)
VERSIONS = tuple(version_of(path) for path in migration_files())


def health(**changes: object) -> Health:
    quiet = {"waiting": 0, "oldest_waiting_s": 0, "running": 0, "unsent": 0, "oldest_unsent_s": 0, "workers": 1}
    schema = {"schema_version": SCHEMA_VERSION, "schema_compatible_from": 1, "migrations": VERSIONS}
    return Health.model_validate({"now": NOW, **schema, "max_file_bytes": 1, **quiet, **changes})


@pytest.mark.parametrize(
    ("levels", "unreachable", "code"),
    [
        (["ok", "ok"], False, Exit.DONE),
        (["ok", "warn"], False, Exit.DONE),
        (["warn", "fail"], False, Exit.USAGE),
        (["ok", "fail"], True, Exit.UNREACHABLE),
        ([], False, Exit.DONE),
    ],
)
def test_doctor_exit_code_follows_the_worst_check(levels: list[Level], unreachable: bool, code: Exit) -> None:
    results = [CheckResult("check", level, "seen", unreachable=unreachable) for level in levels]
    assert worst_exit(results) is code


def test_doctor_json_lines_have_the_names_of_the_result() -> None:
    result = CheckResult("model", "warn", "demo", "set SMELT_MODEL")
    assert _line(result) == {"event": "check", **dataclasses.asdict(result)}


@pytest.mark.parametrize(("error", "unreachable"), [(Unauthorized("no"), False), (Unavailable("gone"), True)])
async def test_doctor_reports_an_error_as_a_failed_check(error: SmeltError, unreachable: bool) -> None:
    async def failing_check() -> CheckResult:
        raise error

    result = await run_check("check", failing_check(), "what to do")
    assert (result.level, result.unreachable) == ("fail", unreachable)
    assert result.remedy is not None
    assert "what to do" in result.remedy


@pytest.mark.parametrize(
    ("migrations", "level"), [(VERSIONS, "ok"), ((*VERSIONS, "9999"), "ok"), (VERSIONS[:-1], "fail"), (None, "warn")]
)
def test_doctor_compares_applied_migrations_with_the_bundled_ones(
    migrations: tuple[str, ...] | None, level: Level
) -> None:
    assert project.check_migrations(health(migrations=migrations)).level == level


@pytest.mark.parametrize(
    ("version", "compatible_from", "remedy"),
    [
        (SCHEMA_VERSION, 1, None),
        (SCHEMA_VERSION + 5, SCHEMA_VERSION, None),
        (SCHEMA_VERSION - 1, 0, "smelt init"),
        (SCHEMA_VERSION + 5, SCHEMA_VERSION + 1, "pip install"),
    ],
)
def test_doctor_names_the_side_whose_schema_version_is_too_old(
    version: int, compatible_from: int, remedy: str | None
) -> None:
    result = project.check_schema_version(health(schema_version=version, schema_compatible_from=compatible_from))
    assert result.level == ("ok" if remedy is None else "fail")
    assert (remedy or "") in (result.remedy or "")


def test_doctor_takes_a_project_without_a_schema_version_as_older() -> None:
    reported = health().model_dump(exclude={"schema_version", "schema_compatible_from"})
    result = project.check_schema_version(Health.model_validate(reported))
    assert (result.level, "older" in result.observed) == ("fail", True)


@pytest.mark.parametrize(("skew_s", "level"), [(0, "ok"), (29, "ok"), (-29, "ok"), (40, "warn"), (-40, "warn")])
def test_doctor_warns_about_clock_skew(skew_s: float, level: Level) -> None:
    started, ended = NOW - timedelta(seconds=skew_s + 1), NOW - timedelta(seconds=skew_s - 1)
    assert project.check_clock(health(), started, ended).level == level


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({}, "ok"),
        ({"waiting": 3, "oldest_waiting_s": 100}, "ok"),
        ({"waiting": 3, "oldest_waiting_s": 100, "workers": 0}, "warn"),
        ({"workers": 2, "suspended": 1}, "warn"),
        ({"unsent": 1, "oldest_unsent_s": 61}, "warn"),
    ],
)
def test_doctor_warns_about_missing_or_suspended_workers_or_an_old_outbox(
    changes: dict[str, object], level: Level
) -> None:
    assert project.check_queue(health(**changes)).level == level


@pytest.mark.parametrize(
    ("url", "header", "level"),
    [
        ("https://abc.supabase.co", "cf-connecting-ip", "ok"),
        ("http://127.0.0.1:54321", "cf-connecting-ip", "ok"),
        ("https://supabase.example.com", "cf-connecting-ip", "warn"),
        ("https://supabase.example.com", "x-real-ip", "ok"),
        ("https://abc.supabase.co", None, "warn"),
    ],
)
def test_doctor_warns_if_a_client_may_set_the_header_of_its_address(url: str, header: str | None, level: Level) -> None:
    assert project.check_client_address(url, health(client_ip_header=header)).level == level


@pytest.mark.parametrize(("count", "shown"), [(1000, "1000 smelts waiting"), (1001, "more than 1,000 smelts waiting")])
def test_doctor_shows_the_limit_of_the_count_of_waiting_smelts(count: int, shown: str) -> None:
    assert project.check_queue(health(waiting=count)).observed.startswith(shown)


async def test_doctor_warns_when_the_processor_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning is enough, since only machines for workers need the processor; the advice names the extra."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    (result,) = [result async for result in check_machine(WorkerSettings.model_construct())]
    assert (result.check, result.level) == ("processor", "warn")
    assert "[processor]" in (result.remedy or "")


@pytest.mark.parametrize(("times", "level"), [(0, "warn"), (1, "fail")])
async def test_doctor_transcribes_a_known_recording_with_the_model(
    times: int, level: Level, children: PatchedChildren
) -> None:
    """The demo model is a warning."""
    children.crash("SIGSEGV", at=1, times=times)
    [result] = [result async for result in check_machine(WorkerSettings()) if result.check == "model"]
    assert result.level == level
    assert ("SIGSEGV" in result.observed) == bool(times)


@pytest.mark.parametrize(("free_bytes", "level"), [(3 << 30, "ok"), (1 << 30, "warn"), (1 << 20, "fail")])
async def test_doctor_fails_on_a_full_disk(free_bytes: int, level: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=free_bytes)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage)
    assert (await _disk(None)).level == level

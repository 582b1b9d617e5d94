"""`smelt doctor`: is everything there that a worker and its watchers need?"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Annotated, Final, TypeVar

import typer

from smelt.cli.checks.result import CheckResult, Level
from smelt.cli.output import OUT, Exit, print_json, run
from smelt.errors import SettingsError
from smelt.settings import Environment, LogSettings, ProjectSettings, WorkerSettings

S = TypeVar("S", bound=Environment)

_COLOURS: Final[dict[Level, str]] = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False) -> None:
    """Check settings, project, keys, migrations, policies, model and decoding, and say what to do about each."""
    run(_doctor(as_json), as_json=as_json)


async def _doctor(as_json: bool) -> Exit:
    findings = []
    async for finding in _examine():
        findings.append(finding)
        if as_json:
            print_json({"event": "check", **asdict(finding)})
        else:
            _print(finding)
    return verdict(findings)


def verdict(findings: Sequence[CheckResult]) -> Exit:
    """The exit code: warnings are no failure, and a project that can't be reached goes before what else is wrong."""
    failed = [finding for finding in findings if finding.level == "fail"]
    if any(finding.unreachable for finding in failed):
        return Exit.UNREACHABLE
    return Exit.USAGE if failed else Exit.DONE


async def _examine() -> AsyncIterator[CheckResult]:
    from smelt.cli.checks.machine import check_machine
    from smelt.cli.checks.project import Access, check_project

    findings: list[CheckResult] = []
    project, worker = _read(ProjectSettings, findings), _read(WorkerSettings, findings)
    _read(LogSettings, findings)
    access: Access | None = None
    if project is not None and (url := _url(project, findings)) is not None:
        anon_key, service_key = _keys(project, findings)
        access = Access(url=url, anon_key=anon_key, service_key=service_key)
    for finding in findings or [CheckResult("settings", "ok", "are complete")]:
        yield finding
    machine = None if worker is None else asyncio.create_task(_listed(check_machine(worker)))
    if access is not None:
        async for finding in check_project(access):
            yield finding
    if machine is not None:
        for finding in await machine:
            yield finding


async def _listed(findings: AsyncIterator[CheckResult]) -> list[CheckResult]:
    return [finding async for finding in findings]


def _read(settings: type[S], findings: list[CheckResult]) -> S | None:
    try:
        return settings.read()
    except SettingsError as exc:
        findings.append(CheckResult("settings", "fail", str(exc), "see .env.example, which has them all"))
        return None


def _url(project: ProjectSettings, findings: list[CheckResult]) -> str | None:
    try:
        return project.require_url()
    except SettingsError as exc:
        findings.append(CheckResult("settings", "fail", str(exc), "set it in the environment or in .env"))
        return None


def _keys(project: ProjectSettings, findings: list[CheckResult]) -> tuple[str | None, str | None]:
    anon_key, service_key = project.anon_key, project.service_role_key
    if anon_key is None and service_key is None:
        seen = "neither SUPABASE_ANON_KEY nor SUPABASE_SERVICE_ROLE_KEY is set"
        findings.append(CheckResult("settings", "fail", seen, "apps need the first, workers the second"))
        return None, None
    if anon_key is None:
        seen = "SUPABASE_ANON_KEY is not set, so that what apps may do is not looked at"
        findings.append(CheckResult("settings", "warn", seen, "a worker does without it; everybody else needs it"))
    if service_key is None:
        seen = "SUPABASE_SERVICE_ROLE_KEY is not set, so that what workers need is not looked at"
        findings.append(CheckResult("settings", "warn", seen, "set it where workers run, and nowhere else"))
    return (
        None if anon_key is None else anon_key.get_secret_value(),
        None if service_key is None else service_key.get_secret_value(),
    )


def _print(finding: CheckResult) -> None:
    from rich.text import Text

    mark = (f"{finding.level:4}", _COLOURS[finding.level])
    OUT.print(Text.assemble(mark, f"  {finding.check}: ", finding.seen), soft_wrap=True)
    if finding.advice is not None:
        OUT.print(Text(f"      → {finding.advice}", style="dim"), soft_wrap=True)

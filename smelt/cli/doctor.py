"""`smelt doctor`: is everything there that a worker and its watchers need?"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Annotated, Final, TypeVar

import typer

from smelt.cli.checks.finding import Finding, Level
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


def verdict(findings: Sequence[Finding]) -> Exit:
    """The exit code: warnings are no failure, and a project that can't be reached goes before what else is wrong."""
    failed = [finding for finding in findings if finding.level == "fail"]
    if any(finding.unreachable for finding in failed):
        return Exit.UNREACHABLE
    return Exit.USAGE if failed else Exit.DONE


async def _examine() -> AsyncIterator[Finding]:
    from smelt.cli.checks.machine import machine_findings
    from smelt.cli.checks.project import Access, project_findings

    findings: list[Finding] = []
    project, worker = _read(ProjectSettings, findings), _read(WorkerSettings, findings)
    _read(LogSettings, findings)
    access: Access | None = None
    if project is not None and (url := _url(project, findings)) is not None:
        anon_key, service_key = _keys(project, findings)
        access = Access(url=url, anon_key=anon_key, service_key=service_key)
    for finding in findings or [Finding("settings", "ok", "are complete")]:
        yield finding
    machine = None if worker is None else asyncio.create_task(_listed(machine_findings(worker)))
    if access is not None:
        async for finding in project_findings(access):
            yield finding
    if machine is not None:
        for finding in await machine:
            yield finding


async def _listed(findings: AsyncIterator[Finding]) -> list[Finding]:
    return [finding async for finding in findings]


def _read(settings: type[S], findings: list[Finding]) -> S | None:
    try:
        return settings.read()
    except SettingsError as exc:
        findings.append(Finding("settings", "fail", str(exc), "see .env.example, which has them all"))
        return None


def _url(project: ProjectSettings, findings: list[Finding]) -> str | None:
    try:
        return project.require_url()
    except SettingsError as exc:
        findings.append(Finding("settings", "fail", str(exc), "set it in the environment or in .env"))
        return None


def _keys(project: ProjectSettings, findings: list[Finding]) -> tuple[str | None, str | None]:
    anon_key, service_key = project.anon_key, project.service_role_key
    if anon_key is None and service_key is None:
        seen = "neither SUPABASE_ANON_KEY nor SUPABASE_SERVICE_ROLE_KEY is set"
        findings.append(Finding("settings", "fail", seen, "apps need the first, workers the second"))
        return None, None
    if anon_key is None:
        seen = "SUPABASE_ANON_KEY is not set, so that what apps may do is not looked at"
        findings.append(Finding("settings", "warn", seen, "a worker does without it; everybody else needs it"))
    if service_key is None:
        seen = "SUPABASE_SERVICE_ROLE_KEY is not set, so that what workers need is not looked at"
        findings.append(Finding("settings", "warn", seen, "set it where workers run, and nowhere else"))
    return (
        None if anon_key is None else anon_key.get_secret_value(),
        None if service_key is None else service_key.get_secret_value(),
    )


def _print(finding: Finding) -> None:
    from rich.text import Text

    mark = (f"{finding.level:4}", _COLOURS[finding.level])
    OUT.print(Text.assemble(mark, f"  {finding.check}: ", finding.seen), soft_wrap=True)
    if finding.advice is not None:
        OUT.print(Text(f"      → {finding.advice}", style="dim"), soft_wrap=True)

"""`smelt doctor`: check everything that workers and apps need."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Annotated, Final, TypeVar
from uuid import UUID

import typer

from smelt.cli.checks.result import CheckResult, Level
from smelt.cli.output import OUT, Exit, print_json, run
from smelt.errors import SettingsError

if TYPE_CHECKING:
    from smelt.settings import Environment, ProjectSettings

S = TypeVar("S", bound="Environment")

_COLORS: Final[dict[Level, str]] = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(
    smelt_id: Annotated[
        UUID | None, typer.Argument(metavar="[ID]", help="A smelt: print its attempts instead, with the service key.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Check all that workers and apps need.

    These are settings, project, keys, migrations, policies, model and decoding; it prints a remedy for each problem.
    """
    run(_doctor(as_json) if smelt_id is None else _print_attempts(smelt_id, as_json), as_json=as_json)


async def _print_attempts(smelt_id: UUID, as_json: bool) -> Exit:
    from smelt.backend.project import Project
    from smelt.backend.worker_rpc import WorkerRpc
    from smelt.cli.attempt_lines import attempt_lines
    from smelt.settings import ProjectSettings

    settings = ProjectSettings.read()
    async with Project(settings.require_url(), settings.require_worker_key()) as project:
        known = await WorkerRpc(project.rpc).get_attempts(smelt_id)
    if as_json:
        print_json({"event": "attempts", **known.model_dump(mode="json")})
    else:
        for line in attempt_lines(known):
            OUT.print(line, markup=False, soft_wrap=True)
    return Exit.DONE


async def _doctor(as_json: bool) -> Exit:
    results = []
    async for result in _run_checks():
        results.append(result)
        if as_json:
            print_json(_line(result))
        else:
            _print(result)
    return worst_exit(results)


def _line(result: CheckResult) -> dict[str, object]:
    return {
        "event": "check",
        "check": result.check,
        "level": result.level,
        "observed": result.observed,
        "remedy": result.remedy,
        "unreachable": result.unreachable,
    }


def worst_exit(results: Sequence[CheckResult]) -> Exit:
    """Return the exit code: `UNREACHABLE` before other failures; warnings count as success."""
    failed = [result for result in results if result.level == "fail"]
    if any(result.unreachable for result in failed):
        return Exit.UNREACHABLE
    return Exit.USAGE if failed else Exit.DONE


async def _run_checks() -> AsyncIterator[CheckResult]:
    from smelt.cli.checks.machine import check_machine
    from smelt.cli.checks.project import Access, check_project
    from smelt.settings import LogSettings, ProjectSettings, WorkerSettings

    results: list[CheckResult] = []
    project, worker = _read(ProjectSettings, results), _read(WorkerSettings, results)
    _read(LogSettings, results)
    access: Access | None = None
    if project is not None and (url := _url(project, results)) is not None:
        anon_key, service_key = _keys(project, results)
        access = Access(url=url, anon_key=anon_key, service_key=service_key)
    for result in results or [CheckResult("settings", "ok", "valid")]:
        yield result
    machine = None if worker is None else asyncio.create_task(_collect(check_machine(worker)))
    if access is not None:
        async for result in check_project(access):
            yield result
    if machine is not None:
        for result in await machine:
            yield result


async def _collect(results: AsyncIterator[CheckResult]) -> list[CheckResult]:
    return [result async for result in results]


def _read(settings: type[S], results: list[CheckResult]) -> S | None:
    try:
        return settings.read()
    except SettingsError as exc:
        results.append(CheckResult("settings", "fail", str(exc), "see .env.example, which documents every setting"))
        return None


def _url(project: "ProjectSettings", results: list[CheckResult]) -> str | None:
    try:
        return project.require_url()
    except SettingsError as exc:
        results.append(CheckResult("settings", "fail", str(exc), "set it in the environment or in .env"))
        return None


def _keys(project: "ProjectSettings", results: list[CheckResult]) -> tuple[str | None, str | None]:
    anon_key, service_key = project.anon_key, project.service_role_key
    if anon_key is None and service_key is None:
        observed = "neither SUPABASE_ANON_KEY nor SUPABASE_SERVICE_ROLE_KEY is set"
        results.append(
            CheckResult(
                "settings", "fail", observed, "set SUPABASE_ANON_KEY for apps, SUPABASE_SERVICE_ROLE_KEY for workers"
            )
        )
        return None, None
    if anon_key is None:
        observed = "SUPABASE_ANON_KEY is not set; the rights of apps were not checked"
        results.append(CheckResult("settings", "warn", observed, "set it, unless only a worker runs here"))
    if service_key is None:
        observed = "SUPABASE_SERVICE_ROLE_KEY is not set; the needs of workers were not checked"
        results.append(
            CheckResult("settings", "warn", observed, "set it on machines that run workers, and nowhere else")
        )
    return (
        None if anon_key is None else anon_key.get_secret_value(),
        None if service_key is None else service_key.get_secret_value(),
    )


def _print(result: CheckResult) -> None:
    from rich.text import Text

    mark = (f"{result.level:4}", _COLORS[result.level])
    OUT.print(Text.assemble(mark, f"  {result.check}: ", result.observed), soft_wrap=True)
    if result.remedy is not None:
        OUT.print(Text(f"      → {result.remedy}", style="dim"), soft_wrap=True)

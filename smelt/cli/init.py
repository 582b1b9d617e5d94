"""`smelt init`: put smelt's migrations into somebody's own Supabase project."""

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.text import Text

from smelt.cli.bundled_migrations import migration_files, version_of
from smelt.cli.output import ERR, OUT, Exit, run
from smelt.cli.sql_names import created_names
from smelt.errors import PermanentError


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Your project: the folder that has supabase/ in it.", file_okay=False)
    ],
    force: Annotated[bool, typer.Option("--force", help="Add them although names of yours collide.")] = False,
) -> None:
    """Add smelt's migrations to your Supabase project, for your next `supabase db push`."""
    run(asyncio.to_thread(_add, folder, force))


@dataclass(frozen=True)
class Plan:
    """What is to be copied, what is there already, and what is there with another content and stays so."""

    new: tuple[Path, ...]
    same: tuple[Path, ...]
    changed: tuple[Path, ...]
    needs_include_all: bool


def plan(bundled: list[Path], target: Path) -> Plan:
    """Compare smelt's migrations with those of a project; raise `PermanentError` where two would have the same version."""
    existing = sorted(target.glob("*.sql"))
    names = {path.name for path in bundled}
    versions = {version_of(path): path.name for path in existing if path.name not in names}
    for path in bundled:
        if taken := versions.get(version_of(path)):
            raise PermanentError(f"{target / taken} has the version of smelt's {path.name}: give yours another one")
    new = [path for path in bundled if not (target / path.name).exists()]
    present = [path for path in bundled if (target / path.name).exists()]
    same = [path for path in present if (target / path.name).read_bytes() == path.read_bytes()]
    return Plan(
        tuple(new),
        tuple(same),
        tuple(path for path in present if path not in same),
        # The CLI does not apply a version older than one that it has applied, unless told to.
        needs_include_all=any(version > version_of(path) for path in new for version in versions),
    )


def collisions(bundled: list[Path], target: Path) -> list[str]:
    """Return a sentence for each name that a project's own migrations create and smelt's do as well."""
    names = {path.name for path in bundled}
    existing = created_names([path for path in sorted(target.glob("*.sql")) if path.name not in names])
    smelts = {created.name.key: created for created in created_names(bundled)}
    return [
        f"{created.path}:{created.line}: {created.name} is also created by smelt's {smelts[created.name.key].path.name}"
        for created in existing
        if created.name.key in smelts
    ]


def _check_names(bundled: list[Path], target: Path, *, force: bool) -> None:
    found = collisions(bundled, target)
    for sentence in found:
        ERR.print(Text(sentence), soft_wrap=True)
    if found and not force:
        raise PermanentError(
            f"nothing was added: {len(found)} names of your project collide with those of smelt. Rename yours, or add "
            "the migrations all the same with --force"
        )


def _add(folder: Path, force: bool) -> Exit:
    if not folder.is_dir():
        raise PermanentError(f"there is no folder {folder}: name the one with your Supabase project")
    project = _supabase_folder(folder)
    target = project / "migrations"
    planned = plan(migration_files(), target)
    _check_names(migration_files(), target, force=force)
    target.mkdir(parents=True, exist_ok=True)
    for path in planned.new:
        shutil.copyfile(path, target / path.name)
    OUT.print(
        f"{len(planned.new)} migrations added in {escape(str(target))}, {len(planned.same)} were there.", soft_wrap=True
    )
    for path in planned.changed:
        OUT.print(f"[yellow]{escape(path.name)} is not as smelt has it; it was left as it is.[/]", soft_wrap=True)
    _print_next_steps(folder, planned, is_new=not (project / "config.toml").exists())
    return Exit.DONE


def _supabase_folder(folder: Path) -> Path:
    """`DIR/supabase`, or DIR itself where that is the folder meant."""
    is_itself = folder.resolve().name == "supabase" and (folder / "config.toml").exists()
    return folder if is_itself else folder / "supabase"


def _print_next_steps(folder: Path, planned: Plan, *, is_new: bool) -> None:
    push = "supabase db push --include-all" if planned.needs_include_all else "supabase db push"
    steps = [f"{push}    applies them to the project that `supabase link` names"]
    if planned.needs_include_all:
        steps[0] += "; some of yours are newer"
    if is_new:
        steps.insert(0, f"supabase init    in {folder}: there is no supabase/config.toml yet")
    steps += [
        "smelt doctor    with SUPABASE_URL, SUPABASE_ANON_KEY and SUPABASE_SERVICE_ROLE_KEY set",
        "smelt worker    where the recordings are to be worked on",
    ]
    OUT.print("Next:")
    for number, step in enumerate(steps, start=1):
        OUT.print(f"  {number}. {step}", markup=False, soft_wrap=True)

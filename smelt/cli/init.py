"""`smelt init`: copy smelt's migrations into a Supabase project, or the JavaScript package into an app."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.text import Text

from smelt.cli.bundled_migrations import migration_files, version_of
from smelt.cli.output import ERR, OUT, Exit, run_in_thread
from smelt.errors import PermanentError
from smelt.js_package import NAME, check_target, copy_package


def init(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="The folder of your project, which contains supabase/.", file_okay=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Add them even if names in your migrations collide.")] = False,
    js: Annotated[
        Path | None,
        typer.Option("--js", metavar="DIR", help="Copy the JavaScript package into this folder of your app."),
    ] = None,
) -> None:
    """Add smelt's migrations to your Supabase project.

    `supabase db push --remote` then applies them.
    """
    if folder is None and js is None:
        raise typer.BadParameter("pass the folder of your Supabase project, or --js with a folder of your app")
    run_in_thread(_add_all, folder, force, js)


@dataclass(frozen=True)
class Plan:
    """The migrations to copy (`new`), and those that exist with the `same` or with `changed` content."""

    new: tuple[Path, ...]
    same: tuple[Path, ...]
    changed: tuple[Path, ...]
    needs_include_all: bool


def plan(bundled: list[Path], target: Path) -> Plan:
    """Compare smelt's migrations with a project's; raise `PermanentError` if two share a version."""
    existing = sorted(target.glob("*.sql"))
    names = {path.name for path in bundled}
    versions = {version_of(path): path.name for path in existing if path.name not in names}
    for path in bundled:
        if taken := versions.get(version_of(path)):
            raise PermanentError(
                f"{target / taken} has the same version as smelt's {path.name}: rename yours to another version"
            )
    new = [path for path in bundled if not (target / path.name).exists()]
    present = [path for path in bundled if (target / path.name).exists()]
    same = [path for path in present if (target / path.name).read_bytes() == path.read_bytes()]
    return Plan(
        tuple(new),
        tuple(same),
        tuple(path for path in present if path not in same),
        # Without this option, the CLI does not apply a version older than the last applied one.
        needs_include_all=any(version > version_of(path) for path in new for version in versions),
    )


def collisions(bundled: list[Path], target: Path) -> list[str]:
    """Return a sentence for each name that both the project's own migrations and smelt's create."""
    from smelt.cli.sql_names import created_names

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
            f"nothing was added: {len(found)} names in your migrations are also used by smelt. Rename yours, or use "
            "--force to add the migrations nevertheless"
        )


def _add_all(folder: Path | None, force: bool, js: Path | None) -> Exit:
    try:
        if js is not None:
            check_target(js)  # Before the migrations are added.
        if folder is not None:
            _add(folder, force)
        if js is not None:
            count = copy_package(js)
            OUT.print(f"Wrote {count} files of {NAME} to {escape(str(js))}; import from its index.js.", soft_wrap=True)
    except OSError as exc:
        raise PermanentError(f"{exc.filename} can't be read or written: {exc.strerror}") from exc
    return Exit.DONE


def _add(folder: Path, force: bool) -> None:
    if not folder.is_dir():
        raise PermanentError(f"{folder} does not exist: pass the folder of your Supabase project")
    project = supabase_folder(folder)
    target = project / "migrations"
    planned = plan(migration_files(), target)
    _check_names(migration_files(), target, force=force)
    target.mkdir(parents=True, exist_ok=True)
    for path in planned.new:
        shutil.copyfile(path, target / path.name)
    OUT.print(
        f"Added {len(planned.new)} migrations to {escape(str(target))}; {len(planned.same)} were already there.",
        soft_wrap=True,
    )
    for path in planned.changed:
        OUT.print(f"[yellow]{escape(path.name)} differs from smelt's version; it was not changed.[/]", soft_wrap=True)
    _print_next_steps(folder, planned, is_new=not (project / "config.toml").exists())


def supabase_folder(folder: Path) -> Path:
    """Return `DIR/supabase`, or DIR if it is the `supabase` folder itself."""
    is_itself = folder.resolve().name == "supabase" and (folder / "config.toml").exists()
    return folder if is_itself else folder / "supabase"


def _print_next_steps(folder: Path, planned: Plan, *, is_new: bool) -> None:
    push = f"supabase db push --remote{' --include-all' if planned.needs_include_all else ''}"
    steps = [f"{push}    applies them to the linked project (`supabase link`); without --remote, to the local one"]
    if planned.needs_include_all:
        steps[0] += "; --include-all, since some of your migrations are newer"
    if is_new:
        steps.insert(0, f"supabase init    in {folder}, which has no supabase/config.toml yet")
    steps += [
        "smelt doctor    with SUPABASE_URL, SUPABASE_ANON_KEY and SUPABASE_SERVICE_ROLE_KEY set",
        "smelt worker    on the machine that will process recordings",
    ]
    OUT.print("Next:")
    for number, step in enumerate(steps, start=1):
        OUT.print(f"  {number}. {step}", markup=False, soft_wrap=True)

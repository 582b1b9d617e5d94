"""`smelt local`: a Supabase project on this machine, without Docker."""

import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer
from rich.markup import escape

from smelt.cli.output import ERR, OUT, Exit, run
from smelt.distribution import supabase_folder
from smelt.errors import PermanentError, Unavailable

if TYPE_CHECKING:
    from smelt.local.client.supervisor_client import LaunchOptions
    from smelt.local.paths import StackPaths
    from smelt.local.state import StackState

app = typer.Typer(name="local", help="A Supabase project on this machine, without Docker.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option("--folder", help="The folder for the data of the stack.", file_okay=False)]
ApiPort = Annotated[
    int | None,
    typer.Option(
        help="Port of the API; 0 selects a free port.", show_default="from config.toml, else 54321", min=0, max=65535
    ),
]
DbPort = Annotated[
    int | None,
    typer.Option(
        help="Port of Postgres; 0 selects a free port.", show_default="from config.toml, else 54322", min=0, max=65535
    ),
]
ProjectFolder = Annotated[
    Path | None,
    typer.Option(
        "--project",
        help="The Supabase project to run. Default: the one in the current folder, else smelt's own.",
        exists=True,
        file_okay=False,
    ),
]

DEFAULT_FOLDER = Path(".smelt")


class Output(StrEnum):
    """Output formats of `smelt local status`."""

    PRETTY = "pretty"
    ENV = "env"
    JSON = "json"


@app.command()
def start(
    folder: Folder = DEFAULT_FOLDER,
    api_port: ApiPort = None,
    db_port: DbPort = None,
    project: ProjectFolder = None,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Run in the foreground and print the logs; Ctrl-C stops the stack.")
    ] = False,
) -> None:
    """Start the stack, apply migrations, and wait until it is ready."""
    run(map_local_errors(lambda: _start(folder, api_port, db_port, project, foreground=foreground)))


@app.command()
def stop(folder: Folder = DEFAULT_FOLDER) -> None:
    """Stop the stack and keep its data."""
    run(map_local_errors(lambda: _stop(folder)))


@app.command()
def status(
    folder: Folder = DEFAULT_FOLDER,
    output: Annotated[Output, typer.Option("--output", "-o", help="env: lines for a .env file.")] = Output.PRETTY,
) -> None:
    """Print the addresses and keys of the running stack."""
    run(map_local_errors(lambda: _status(folder, output)))


@app.command()
def reset(folder: Folder = DEFAULT_FOLDER, project: ProjectFolder = None) -> None:
    """Delete all data, then apply migrations and seed again. A running stack is restarted."""
    run(map_local_errors(lambda: _reset(folder, project)))


async def _start(
    folder: Path, api_port: int | None, db_port: int | None, project: Path | None, *, foreground: bool
) -> Exit:
    from smelt.local import state

    paths = _paths(folder)
    running = state.read(paths)
    if running is not None:
        OUT.print("The stack is already running.")
        _print(running, Output.PRETTY, folder)
        return Exit.DONE
    options = _options(paths, project, api_port, db_port, until_input_closes=foreground)
    if foreground:
        return await _run_in_foreground(options, folder)
    await _start_detached(options, lambda running: _print(running, Output.PRETTY, folder))
    return Exit.DONE


async def _stop(folder: Path) -> Exit:
    from smelt.local.client import supervisor_client

    was_running = await supervisor_client.stop(_paths(folder))
    OUT.print("The stack is stopped." if was_running else "No stack is running.")
    return Exit.DONE


async def _status(folder: Path, output: Output) -> Exit:
    from smelt.local import state

    running = state.read(_paths(folder))
    if running is None:
        raise Unavailable(f"no stack is running in {folder}: start one with `smelt local start`")
    _print(running, output, folder)
    return Exit.DONE


async def _reset(folder: Path, project: Path | None) -> Exit:
    from smelt.local import account, state
    from smelt.local.client import supervisor_client

    paths = _paths(folder)
    before = state.read(paths)
    if before is None:
        options = _options(paths, project, 0, 0)
    else:
        ports = (urlsplit(url).port or 0 for url in (before.api_url, before.db_url))
        options = _options(paths, project or Path(before.project), *ports)
    await supervisor_client.stop(paths)
    for data in (paths.data, paths.storage):
        await asyncio.to_thread(account.remove, data)
    await _start_detached(options, lambda _: None)
    if before is None:
        # It was not running before, so it does not stay running.
        await supervisor_client.stop(paths)
    OUT.print("The data was deleted; the migrations are applied.")
    return Exit.DONE


async def _start_detached(options: "LaunchOptions", announce: "Callable[[StackState], None]") -> None:
    """Start a stack that outlives this command; stop it if the command is interrupted before it ends."""
    from smelt.local.client import supervisor_client

    process, running = await supervisor_client.launch(options)
    try:
        announce(running)
        await asyncio.sleep(0)  # Raises CancelledError if Ctrl-C was pressed meanwhile.
    except BaseException:
        await supervisor_client.end(process)
        raise
    # The process outlives this one; without a return code, Python would warn about it.
    process.returncode = 0


async def _run_in_foreground(options: "LaunchOptions", folder: Path) -> Exit:
    from smelt.local.client import supervisor_client

    process, running = await supervisor_client.launch(options)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    waiting = asyncio.create_task(stopped.wait())
    ended = asyncio.create_task(asyncio.to_thread(process.wait))
    _print(running, Output.PRETTY, folder)
    OUT.print("Press Ctrl-C to stop the stack.")
    logging = asyncio.create_task(_print_logs(options.folder))
    try:
        await asyncio.wait((waiting, ended), return_when=asyncio.FIRST_COMPLETED)
    finally:
        await supervisor_client.end(process)
        waiting.cancel()
        logging.cancel()
    return Exit.DONE if stopped.is_set() or process.returncode == 0 else Exit.UNREACHABLE


async def _print_logs(folder: Path) -> None:
    """Print the logs of the processes as they are written, each line with the name of its process."""
    from smelt.local.processes.logs import follow

    paths = _paths(folder)
    async for path, line in follow([paths.log(process) for process in ("supervisor", "postgres", "postgrest")]):
        OUT.print(f"{path.stem:10} | {line}", markup=False, highlight=False, soft_wrap=True)


async def map_local_errors(command: Callable[[], Awaitable[Exit]]) -> Exit:
    """Run a command; raise the errors of `smelt.local`, which imports nothing of smelt, as smelt's own."""
    from smelt.local import LocalError, LocalTransientError

    try:
        return await command()
    except LocalTransientError as exc:
        raise Unavailable(str(exc)) from exc
    except LocalError as exc:
        raise PermanentError(str(exc)) from exc


def _options(
    paths: "StackPaths",
    project: Path | None,
    api_port: int | None,
    db_port: int | None,
    *,
    until_input_closes: bool = False,
) -> "LaunchOptions":
    from smelt.local.client.supervisor_client import LaunchOptions
    from smelt.local.project import ProjectFiles
    from smelt.settings import LocalSettings

    chosen = chosen_project(project)
    settings = ProjectFiles.read(chosen)
    return LaunchOptions(
        folder=paths.folder,
        project=chosen,
        api_port=settings.api_port if api_port is None else api_port,
        db_port=settings.db_port if db_port is None else db_port,
        postgrest=LocalSettings.read().postgrest,
        until_input_closes=until_input_closes,
    )


def chosen_project(named: Path | None) -> Path:
    """Return the `supabase/` folder to run; raise `PermanentError` if `named` neither is nor contains one.

    The default is the one in the current folder, as with the Supabase CLI, else smelt's own.
    """
    for folder in (Path("supabase"),) if named is None else (named / "supabase", named):
        if (folder / "config.toml").exists() or (folder / "migrations").is_dir():
            return folder.absolute()  # `reset` may be run from another folder.
    if named is None:
        return supabase_folder()
    raise PermanentError(f"{named} is not a Supabase project: it contains neither config.toml nor migrations/")


def _paths(folder: Path) -> "StackPaths":
    from smelt.local.paths import StackPaths

    return StackPaths(folder.resolve())


def _print(running: "StackState", output: Output, folder: Path) -> None:
    from smelt.local.keys import Keys

    names = running.env(Keys())
    match output:
        case Output.JSON:
            print(json.dumps(names, indent=2))
        case Output.ENV:
            print("\n".join(f'{name}="{value}"' for name, value in names.items()))
            if _is_readable_by_others(sys.stdout.fileno()):
                ERR.print(
                    "Other users can read the file with these keys; `umask 077` before the command, or chmod 600."
                )
        case Output.PRETTY:
            _print_table(names)
            chosen = "" if folder == DEFAULT_FOLDER else f" --folder {escape(str(folder))}"
            for note in running.notes:
                OUT.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
            OUT.print(f"Print lines for a .env file: [bold]smelt local status -o env{chosen}[/]", soft_wrap=True)


def _is_readable_by_others(descriptor: int) -> bool:
    """Return True for a regular file that its group or others may read."""
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISREG(mode) and bool(mode & (stat.S_IRGRP | stat.S_IROTH))


def _print_table(names: Mapping[str, str]) -> None:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    for label, name in (
        ("API URL", "API_URL"),
        ("Database", "DB_URL"),
        ("Publishable key", "PUBLISHABLE_KEY"),
        ("Secret key", "SECRET_KEY"),
    ):
        table.add_row(f"[bold]{label}[/]", names[name])
    OUT.print(table)

"""`smelt models`: the models on this machine; `smelt models get` adds one ahead of time."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from smelt.cli.output import ERR, OUT, Exit, print_json, run

if TYPE_CHECKING:
    from smelt.processor.speech.local_models import LocalModel

app = typer.Typer(help="List the models on this machine, or add one.", invoke_without_command=True)


@app.callback()
def models(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """List the models on this machine, and mark the one that the settings take; `get` adds one."""
    if context.invoked_subcommand is None:
        run(_list(as_json), as_json=as_json)


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="A size of faster-whisper, such as base, or owner/name on the hub.")],
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FOLDER", exists=True, file_okay=False, help="Copy it from a folder, without a network."
        ),
    ] = None,
) -> None:
    """Fetch a model from the Hugging Face hub, or copy it from a folder."""
    run(_get(name, source))


async def _list(as_json: bool) -> Exit:
    from smelt.processor.speech.local_models import find_model, find_models
    from smelt.settings import WorkerSettings

    chosen = WorkerSettings.read().model
    taken = find_model(chosen)
    found = find_models()
    if taken is not None and taken.folder not in {model.folder for model in found}:
        found.append(taken)
    if as_json:
        for model in found:
            print_json(
                {"event": "model", **_described(model), "is_set": taken is not None and model.folder == taken.folder}
            )
        return Exit.DONE
    width = max(len(model.name) for model in found)
    for model in found:
        mark = "*" if taken is not None and model.folder == taken.folder else " "
        fault = "" if model.fault is None else f"  {model.fault}"
        line = f"{mark} {model.name:<{width}}  {model.size_bytes / 1e6:6.0f} MB  {model.folder}"
        OUT.print(Text.assemble(line, (fault, "yellow")), soft_wrap=True)
    if taken is None:
        OUT.print(Text(f"SMELT_MODEL={chosen} is not on this machine: `smelt models get {chosen}` fetches it."))
    else:
        OUT.print(Text(f"* SMELT_MODEL={chosen}"))
    return Exit.DONE


def _described(model: "LocalModel") -> dict[str, object]:
    return {
        "name": model.name,
        "folder": str(model.folder),
        "revision": model.revision,
        "size_bytes": model.size_bytes,
        "fault": model.fault,
    }


async def _get(name: str, source: Path | None) -> Exit:
    from smelt.processor.speech.local_models import copy_model

    model = fetch(name) if source is None else copy_model(name, source)
    OUT.print(Text(f"{name} is in {model.folder} ({model.size_bytes / 1e6:.0f} MB)"), soft_wrap=True)
    if source is None:
        OUT.print(f"Commit: {model.revision}")
    OUT.print(f"SHA-256 of model.bin: {model.sha256()}", soft_wrap=True)
    OUT.print(f"Set [bold]SMELT_MODEL={name}[/] to use it.")
    return Exit.DONE


def fetch(name: str) -> "LocalModel":
    """Download a model, with bars on a terminal; raise `SettingsError` or `Unavailable`.

    Ctrl-C ends the process at once, since the download does not await; the next call continues it.
    """
    from smelt.processor.speech.local_models import fetch_model

    previous = signal.getsignal(signal.SIGINT)
    try:
        if callable(previous):  # A background job of a script ignores SIGINT.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        return fetch_model(name, bars=ERR.is_terminal)
    finally:
        signal.signal(signal.SIGINT, previous)

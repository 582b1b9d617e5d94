"""The command line: one file per command, which declares its options and does its work.

`smelt --help` imports all of these files, so that they import little at their top: the standard library, typer, rich's
console, the errors, the vocabulary, and files of this folder for which the same is true. All else, such as the settings
and all that needs pydantic, is imported by the function that uses it, and under `TYPE_CHECKING` for annotations.
`tests/unit/cli/test_startup.py` lists what must not be imported. The help is plain text: rich's would cost as much as
all other imports.
"""

import logging
import sys
from typing import Annotated

import typer

from smelt.cli import (
    cancel,
    contract,
    delete,
    demo,
    doctor,
    init,
    list,
    local,
    login,
    models,
    remove,
    rename_speaker,
    retry,
    serve,
    show,
    submit,
    watch,
    webhook,
    worker,
)
from smelt.cli.logs import TextFormatter
from smelt.cli.output import Exit, print_json_error

app = typer.Typer(
    name="smelt",
    help="Transcription jobs on Supabase: submit recordings, watch them live, run workers.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_show_locals=False,
)
app.command()(demo.demo)
app.add_typer(local.app, name="local")
app.command()(worker.worker)
app.command()(serve.serve)
app.add_typer(models.app, name="models")
app.command()(login.login)
app.command()(login.logout)
app.command(epilog=submit.EXAMPLES)(submit.submit)
app.command()(watch.watch)
app.command()(show.show)
app.command(name="list")(list.list_smelts)
app.command()(cancel.cancel)
app.command()(retry.retry)
app.command(name="rename-speaker")(rename_speaker.rename_speaker)
app.command()(delete.delete)
app.add_typer(webhook.app, name="webhook")
app.command()(doctor.doctor)
app.command()(contract.contract)
app.command()(init.init)
app.command()(remove.remove)


def _print_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        from smelt.distribution import NAME

        typer.echo(version(NAME))
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Transcription jobs on Supabase: submit recordings, watch them live, run workers."""
    if logging.lastResort is not None:  # It prints the warnings of libraries.
        logging.lastResort.setFormatter(TextFormatter())


def main() -> None:
    """Run the command line; with `--json`, print a usage error as one line of JSON."""
    if "--json" not in sys.argv:
        app()
    try:
        code = app(standalone_mode=False)
    except typer.TyperException as exc:
        print_json_error(Exit.USAGE.name.lower(), exc.format_message())
        code = exc.exit_code
    sys.exit(code)

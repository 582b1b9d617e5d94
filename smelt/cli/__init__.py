"""The command line: one file a command. Heavy imports happen inside the commands, so that `--help` is quick."""

import logging
from typing import Annotated

import typer

from smelt.cli import cancel, contract, demo, doctor, init, list, local, retry, serve, show, submit, watch, worker
from smelt.cli.logs import TextFormatter
from smelt.distribution import NAME

app = typer.Typer(
    name="smelt",
    help="Transcription jobs on Supabase: submit recordings, watch them live, run the workers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)
app.command()(demo.demo)
app.add_typer(local.app, name="local")
app.command()(worker.worker)
app.command()(submit.submit)
app.command()(watch.watch)
app.command()(show.show)
app.command(name="list")(list.list_smelts)
app.command()(cancel.cancel)
app.command()(retry.retry)
app.command()(doctor.doctor)
app.command()(contract.contract)
app.command()(init.init)
app.command(hidden=True, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(serve.serve)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version(NAME))
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Transcription jobs on Supabase: submit recordings, watch them live, run the workers."""
    if logging.lastResort is not None:  # It writes the warnings of libraries.
        logging.lastResort.setFormatter(TextFormatter())

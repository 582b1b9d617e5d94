"""The command line: one file a command. Heavy imports happen inside the commands, so that `--help` is quick."""

from typing import Annotated

import typer

from smelt.cli import cancel, contract, demo, doctor, init, list, local, retry, show, submit, watch, worker

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


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.", is_eager=True)] = False,
) -> None:
    """Transcription jobs on Supabase: submit recordings, watch them live, run the workers."""
    if version:
        from importlib.metadata import version as installed

        typer.echo(installed("smelt"))
        raise typer.Exit


def main() -> None:
    """The console script `smelt`."""
    app()

"""`smelt submit`: create a smelt from files or a text, and watch it with `--watch`."""

from pathlib import Path
from typing import Annotated, Final

import typer

from smelt.cli.connection import connect
from smelt.cli.output import OUT, Exit, print_json, run
from smelt.cli.view import follow
from smelt.contract.vocabulary import DEFAULT_PROMPTS, Mode

_PROMPTS: Final = f"A prompt to apply: {', '.join(DEFAULT_PROMPTS)}. Repeatable. Default: summarize."


def submit(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Up to five recordings.", exists=True, dir_okay=False, readable=True)
    ] = None,
    text: Annotated[str | None, typer.Option(help="A text to process instead of recordings.")] = None,
    prompt: Annotated[list[str] | None, typer.Option(metavar="NAME", help=_PROMPTS)] = None,
    mode: Annotated[
        Mode, typer.Option(help="separate: one result per file; combine: one result for all files.")
    ] = "separate",
    watch: Annotated[bool, typer.Option("--watch", help="Watch the smelt until it ends.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Create a smelt from recordings or a text."""
    run(_submit(files or [], text, prompt or ["summarize"], mode, watch, as_json), as_json=as_json)


async def _submit(
    files: list[Path], text: str | None, prompts: list[str], mode: Mode, watch: bool, as_json: bool
) -> Exit:
    async with connect() as client:
        created = await client.create(files=files, text=text, prompts=prompts, mode=mode, submit=False)
        if as_json:
            print_json({"event": "created", **created.model_dump(mode="json")})
        else:
            OUT.print(f"Created smelt [bold]{created.id}[/]")
        if watch:
            names = {file.id: file.filename for file in created.files}
            # Join the channel before submitting, so that not even the first event of a waiting worker is missed.
            return await follow(client, created.id, names, as_json=as_json, submit=True)
        await client.submit(created.id)
        if not as_json:
            OUT.print(f"Watch it with: smelt watch {created.id}")
        return Exit.DONE

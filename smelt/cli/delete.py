"""`smelt delete`: remove a smelt with its transcript, results and audio."""

import sys
from typing import Annotated
from uuid import UUID

import typer

from smelt.cli.connection import connect
from smelt.cli.output import ERR, OUT, Exit, ask, print_json, run, visible


def delete(
    smelt_id: Annotated[UUID, typer.Argument(metavar="ID", help="The id of the smelt.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Delete a smelt with its transcript, results and audio.

    On a terminal, it asks for confirmation.
    """
    run(_delete(smelt_id, yes, as_json), as_json=as_json)


async def _delete(smelt_id: UUID, yes: bool, as_json: bool) -> Exit:
    async with connect() as client:
        if not yes and sys.stdin.isatty():
            snapshot = await client.get(smelt_id)
            names = visible(", ".join(file.filename for file in snapshot.files))
            question = f"Delete smelt {smelt_id} ({names}; {snapshot.status})?"
            if not ask(lambda: typer.confirm(question, err=True)):
                ERR.print("Nothing was deleted.")
                return Exit.FAILED
        await client.delete(smelt_id)
    if as_json:
        print_json({"event": "deleted", "id": smelt_id})
    else:
        OUT.print(f"{smelt_id} is deleted")
    return Exit.DONE

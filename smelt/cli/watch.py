"""`smelt watch`: show the progress of a smelt until it ends."""

from typing import Annotated
from uuid import UUID

import typer

from smelt.cli.connection import connect
from smelt.cli.output import Exit, run


def watch(
    smelt_id: Annotated[UUID, typer.Argument(metavar="ID", help="The id of the smelt, as printed by `smelt submit`.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Show progress and transcript of a smelt until it ends."""
    run(_watch(smelt_id, as_json), as_json=as_json)


async def _watch(smelt_id: UUID, as_json: bool) -> Exit:
    from smelt.cli.view import follow

    async with connect() as client:
        snapshot = await client.get(smelt_id)
        names = {file.id: file.filename for file in snapshot.files}
        return await follow(client, smelt_id, names, as_json=as_json)

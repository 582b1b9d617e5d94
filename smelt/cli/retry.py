"""`smelt retry`: run a failed smelt again."""

from typing import Annotated
from uuid import UUID

import typer

from smelt.cli.connection import connect
from smelt.cli.output import OUT, Exit, run


def retry(smelt_id: Annotated[UUID, typer.Argument(help="Which smelt.")]) -> None:
    """Start the next run of a failed smelt; finished transcripts are kept."""
    run(_retry(smelt_id))


async def _retry(smelt_id: UUID) -> Exit:
    async with connect() as client:
        snapshot = await client.retry(smelt_id)
    OUT.print(f"{snapshot.id} is {snapshot.status}, run {snapshot.run}")
    return Exit.DONE

"""`smelt cancel`: end a smelt that is not done."""

from typing import Annotated
from uuid import UUID

import typer

from smelt.cli.connection import connect
from smelt.cli.output import OUT, Exit, run


def cancel(smelt_id: Annotated[UUID, typer.Argument(help="Which smelt.")]) -> None:
    """Cancel a smelt; what was transcribed so far stays readable."""
    run(_cancel(smelt_id))


async def _cancel(smelt_id: UUID) -> Exit:
    async with connect() as client:
        snapshot = await client.cancel(smelt_id)
    OUT.print(f"{snapshot.id} is {snapshot.status} ({snapshot.error_code or snapshot.outcome})")
    return Exit.DONE

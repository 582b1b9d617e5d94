"""`smelt cancel`: end a smelt that has not ended yet."""

from typing import Annotated
from uuid import UUID

import typer

from smelt.cli.connection import connect
from smelt.cli.output import OUT, Exit, print_json, run


def cancel(
    smelt_id: Annotated[UUID, typer.Argument(metavar="ID", help="The id of the smelt.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Cancel a smelt; the transcript so far stays readable."""
    run(_cancel(smelt_id, as_json), as_json=as_json)


async def _cancel(smelt_id: UUID, as_json: bool) -> Exit:
    async with connect() as client:
        snapshot = await client.cancel(smelt_id)
    if as_json:
        print_json({"event": "smelt", **snapshot.model_dump(mode="json", exclude={"segments", "results"})})
    else:
        OUT.print(f"{snapshot.id} is {snapshot.status} ({snapshot.error_code or snapshot.outcome})")
    return Exit.DONE

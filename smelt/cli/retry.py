"""`smelt retry`: start the next run of a failed or partial smelt."""

from typing import Annotated
from uuid import UUID

import typer

from smelt.cli.connection import connect
from smelt.cli.output import OUT, Exit, print_json, run


def retry(
    smelt_id: Annotated[UUID, typer.Argument(metavar="ID", help="The id of the smelt.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Start the next run of a failed or partial smelt.

    Finished transcripts are kept.
    """
    run(_retry(smelt_id, as_json), as_json=as_json)


async def _retry(smelt_id: UUID, as_json: bool) -> Exit:
    async with connect() as client:
        snapshot = await client.retry(smelt_id)
    if as_json:
        print_json({"event": "smelt", **snapshot.model_dump(mode="json", exclude={"segments", "results"})})
    else:
        OUT.print(f"{snapshot.id} is {snapshot.status}, run {snapshot.run}")
    return Exit.DONE

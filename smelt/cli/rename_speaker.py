"""`smelt rename-speaker`: name a speaker of a transcript."""

from typing import Annotated
from uuid import UUID

import typer

from smelt.cli.connection import connect
from smelt.cli.output import OUT, Exit, print_json, run, visible


def rename_speaker(
    smelt_id: Annotated[UUID, typer.Argument(metavar="ID", help="The id of the smelt.")],
    speaker: Annotated[str, typer.Argument(metavar="LABEL", help="The label of the speaker, such as 'Speaker 1'.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name; the label itself removes the name.")],
    file_id: Annotated[
        UUID | None, typer.Option("--file", metavar="FILE-ID", help="Only in this file; by default in all files.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """Name a speaker in captions, documents and results."""
    run(_rename_speaker(smelt_id, speaker, name, file_id, as_json), as_json=as_json)


async def _rename_speaker(smelt_id: UUID, speaker: str, name: str, file_id: UUID | None, as_json: bool) -> Exit:
    async with connect() as client:
        snapshot = await client.rename_speaker(smelt_id, speaker, name, file_id=file_id)
    if as_json:
        print_json({"event": "smelt", **snapshot.model_dump(mode="json", exclude={"segments", "results"})})
    else:
        for file in snapshot.files:
            OUT.print(
                f"{visible(file.filename)}: {visible(speaker)} is {visible(file.speaker_names.get(speaker, speaker))}"
            )
    return Exit.DONE

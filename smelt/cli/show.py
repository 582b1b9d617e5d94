"""`smelt show`: the results or the transcript of a smelt."""

import json
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

import typer

from smelt.cli.connection import connect
from smelt.cli.output import ERR, Exit, print_document, run
from smelt.contract.vocabulary import TERMINAL_STATUSES, TranscriptFormat

if TYPE_CHECKING:
    from smelt.contract.state import Snapshot


ShowFormat = Literal["md", TranscriptFormat]
"""The results in Markdown, or the transcript."""


def show(
    smelt_id: Annotated[UUID, typer.Argument(metavar="ID", help="The id of the smelt.")],
    form: Annotated[ShowFormat, typer.Option("--format", help="md: the results; all others: the transcript.")] = "md",
    number: Annotated[
        int | None, typer.Option("--file", min=1, help="The number of the file, from 1, if there are several.")
    ] = None,
) -> None:
    """Print the results of a smelt, or its transcript."""
    run(_show(smelt_id, form, number))


async def _show(smelt_id: UUID, form: ShowFormat, number: int | None) -> Exit:
    from smelt.cli.view import print_no_worker, print_notices, print_trust
    from smelt.settings import CaptionSettings
    from smelt.transcripts.documents import describe_status, results_document, transcript_document

    layout = CaptionSettings.read().layout()
    async with connect() as client:
        snapshot = await client.get(smelt_id, with_words=form != "md")
    print_notices(ERR, snapshot)
    _print_request(snapshot)
    for file in snapshot.files:
        print_trust(file.filename, file.trust)
    print_no_worker(ERR, snapshot)
    if form == "md":
        print_document(results_document(snapshot))
        return Exit.DONE
    document = transcript_document(snapshot, form, number, layout)
    if snapshot.status not in TERMINAL_STATUSES:
        ERR.print(f"This is the transcript so far: {describe_status(snapshot)}.", markup=False, soft_wrap=True)
    print_document(document)
    return Exit.DONE


def _print_request(snapshot: "Snapshot") -> None:
    """Print the options and the metadata of a smelt, if it has any."""
    for name, value in (("Options", snapshot.options), ("Metadata", snapshot.metadata)):
        if value:
            ERR.print(f"{name}: {json.dumps(value, ensure_ascii=False)}", markup=False, soft_wrap=True)

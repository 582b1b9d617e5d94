"""`smelt show`: the results or the transcript of a smelt."""

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from smelt.cli.captions import caption_layout
from smelt.cli.connection import connect
from smelt.cli.output import ERR, Exit, print_document, run
from smelt.cli.view import print_no_worker, print_notices, print_trust
from smelt.contract.documents import describe_status, results_document, transcript_document
from smelt.contract.transcript import TranscriptFormat
from smelt.contract.vocabulary import TERMINAL_STATUSES

if TYPE_CHECKING:
    from smelt.contract.state import Snapshot


class ShowFormat(StrEnum):
    """Output formats of `smelt show`: the results in Markdown, or the transcript."""

    MD = "md"
    TXT = "txt"
    SRT = "srt"
    VTT = "vtt"
    JSON = "json"


def show(
    smelt_id: Annotated[UUID, typer.Argument(metavar="ID", help="The id of the smelt.")],
    form: Annotated[
        ShowFormat, typer.Option("--format", help="md: the results; all others: the transcript.")
    ] = ShowFormat.MD,
    number: Annotated[
        int | None, typer.Option("--file", min=1, help="The number of the file, from 1, if there are several.")
    ] = None,
) -> None:
    """Print the results of a smelt, or its transcript as text, captions or JSON."""
    run(_show(smelt_id, form, number))


async def _show(smelt_id: UUID, form: ShowFormat, number: int | None) -> Exit:
    layout = caption_layout()
    async with connect() as client:
        snapshot = await client.get(smelt_id, with_words=form is not ShowFormat.MD)
    print_notices(ERR, snapshot)
    _print_request(snapshot)
    for file in snapshot.files:
        print_trust(file.filename, file.trust)
    print_no_worker(ERR, snapshot)
    if form is ShowFormat.MD:
        print_document(results_document(snapshot))
        return Exit.DONE
    document = transcript_document(snapshot, TranscriptFormat(form), number, layout)
    if snapshot.status not in TERMINAL_STATUSES:
        ERR.print(f"This is the transcript so far: {describe_status(snapshot)}.", markup=False, soft_wrap=True)
    print_document(document)
    return Exit.DONE


def _print_request(snapshot: "Snapshot") -> None:
    """Print the options and the metadata of a smelt, if it has any."""
    for name, value in (("Options", snapshot.options), ("Metadata", snapshot.metadata)):
        if value:
            ERR.print(f"{name}: {json.dumps(value, ensure_ascii=False)}", markup=False, soft_wrap=True)

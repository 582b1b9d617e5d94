"""`smelt show`: the results or the transcript of a smelt."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from smelt.cli.captions import caption_layout
from smelt.cli.connection import connect
from smelt.cli.output import ERR, Exit, print_document, run
from smelt.cli.view import print_no_worker, print_notices
from smelt.contract.transcript import TranscriptFormat, format_transcript
from smelt.errors import RequestRejected

if TYPE_CHECKING:
    from smelt.contract.state import FileState, Snapshot


class ShowFormat(StrEnum):
    """What `smelt show` can print: the results in Markdown, or the transcript."""

    MD = "md"
    TXT = "txt"
    SRT = "srt"
    VTT = "vtt"
    JSON = "json"


def show(
    smelt_id: Annotated[UUID, typer.Argument(help="Which smelt.")],
    form: Annotated[
        ShowFormat, typer.Option("--format", help="md: the results; the others: the transcript.")
    ] = ShowFormat.MD,
    number: Annotated[int | None, typer.Option("--file", min=1, help="Which of several files, from 1.")] = None,
) -> None:
    """Print the results of a smelt, or its transcript as text, captions or JSON."""
    run(_show(smelt_id, form, number))


async def _show(smelt_id: UUID, form: ShowFormat, number: int | None) -> Exit:
    layout = caption_layout()
    async with connect() as client:
        snapshot = await client.get(smelt_id, with_words=form is not ShowFormat.MD)
    print_notices(ERR, snapshot)
    print_no_worker(ERR, snapshot)
    if form is not ShowFormat.MD:
        file = _chosen(snapshot, number)
        print_document(format_transcript(TranscriptFormat(form), snapshot.segments_of(file.id), file, layout))
    elif snapshot.results is None:
        why = "" if snapshot.error_message is None else f" ({snapshot.error_message})"
        raise RequestRejected("not_completed", f"Smelt {smelt_id} has no results: it is {snapshot.status}{why}.")
    else:
        print_document("\n".join(f"# {result.filename}\n\n{result.content}\n" for result in snapshot.results))
    return Exit.DONE


def _chosen(snapshot: "Snapshot", number: int | None) -> "FileState":
    if number is None and len(snapshot.files) > 1:
        raise RequestRejected(
            "which_file", f"Smelt {snapshot.id} has {len(snapshot.files)} files: say --file 1, 2, ..."
        )
    if number is not None and number > len(snapshot.files):
        raise RequestRejected("which_file", f"Smelt {snapshot.id} has no file {number}.")
    return snapshot.files[(number or 1) - 1]

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
from smelt.contract.transcript import TranscriptFormat, format_transcript
from smelt.contract.vocabulary import TERMINAL_STATUSES
from smelt.errors import RequestRejected

if TYPE_CHECKING:
    from smelt.contract.state import FileState, Snapshot


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
    if form is not ShowFormat.MD:
        file = _chosen(snapshot, number)
        segments = snapshot.segments_of(file.id)
        if not segments and snapshot.status != "completed":
            raise RequestRejected(
                "not_transcribed", f"Smelt {smelt_id} has no transcript: {_describe_status(snapshot)}."
            )
        if snapshot.status not in TERMINAL_STATUSES:
            ERR.print(f"This is the transcript so far: {_describe_status(snapshot)}.", markup=False, soft_wrap=True)
        print_document(format_transcript(TranscriptFormat(form), segments, file, layout))
    elif snapshot.results is None:
        raise RequestRejected("not_completed", f"Smelt {smelt_id} has no results: {_describe_status(snapshot)}.")
    else:
        print_document("\n".join(f"# {result.filename}\n\n{result.content}\n" for result in snapshot.results))
    return Exit.DONE


def _print_request(snapshot: "Snapshot") -> None:
    """Print the options and the metadata of a smelt, if it has any."""
    for name, value in (("Options", snapshot.options), ("Metadata", snapshot.metadata)):
        if value:
            ERR.print(f"{name}: {json.dumps(value, ensure_ascii=False)}", markup=False, soft_wrap=True)


def _describe_status(snapshot: "Snapshot") -> str:
    """Return the status of a smelt, as the end of a sentence."""
    if snapshot.status == "failed":
        return f"it has failed ({snapshot.error_message})"
    if snapshot.submitted_at is None:
        return "it has not been submitted"
    percentage = "" if snapshot.status == "pending" else f" ({snapshot.progress.percentage:.0f} %)"
    return f"it is still {snapshot.status}{percentage}"


def _chosen(snapshot: "Snapshot", number: int | None) -> "FileState":
    if number is None and len(snapshot.files) > 1:
        raise RequestRejected(
            "which_file", f"Smelt {snapshot.id} has {len(snapshot.files)} files: choose one with --file 1, 2, ..."
        )
    if number is not None and number > len(snapshot.files):
        raise RequestRejected("which_file", f"Smelt {snapshot.id} has no file {number}.")
    return snapshot.files[(number or 1) - 1]

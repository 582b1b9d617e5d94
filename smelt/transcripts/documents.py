"""Transcripts and results of a smelt as documents, made from its snapshot. Pure."""

from smelt.contract.state import FileState, Snapshot
from smelt.contract.vocabulary import TranscriptFormat
from smelt.errors import RequestRejected
from smelt.transcripts.captions import CaptionLayout
from smelt.transcripts.formats import format_transcript


def transcript_document(
    snapshot: Snapshot, transcript_format: TranscriptFormat, number: int | None, layout: CaptionLayout
) -> str:
    """Return the transcript of a file, as far as it exists; raise `RequestRejected` if there is none.

    Args:
        snapshot: The smelt; with words, if the format is to contain them.
        transcript_format: The format of the document.
        number: The number of the file, from 1; None if the smelt has one file.
        layout: The layout of captions.
    """
    file = chosen_file(snapshot, number)
    segments = snapshot.segments_of(file.id)
    if not segments and snapshot.status != "completed":
        raise RequestRejected("not_transcribed", f"Smelt {snapshot.id} has no transcript: {describe_status(snapshot)}.")
    return format_transcript(transcript_format, segments, file, layout)


def results_document(snapshot: Snapshot) -> str:
    """Return the results as Markdown; raise `RequestRejected` if the smelt has not completed."""
    if snapshot.results is None:
        raise RequestRejected("not_completed", f"Smelt {snapshot.id} has no results: {describe_status(snapshot)}.")
    return "\n".join(f"# {result.filename}\n\n{result.content}\n" for result in snapshot.results)


def describe_status(snapshot: Snapshot) -> str:
    """Return the status of a smelt, as the end of a sentence."""
    if snapshot.status == "failed":
        return f"it has failed ({snapshot.error_message})"
    if snapshot.submitted_at is None:
        return "it has not been submitted"
    percentage = "" if snapshot.status == "pending" else f" ({snapshot.progress.percentage:.0f} %)"
    return f"it is still {snapshot.status}{percentage}"


def chosen_file(snapshot: Snapshot, number: int | None) -> FileState:
    """Return the file of a number from 1, or the only one; raise `RequestRejected` if there is none or several."""
    if number is None and len(snapshot.files) > 1:
        raise RequestRejected(
            "which_file", f"Smelt {snapshot.id} has {len(snapshot.files)} files: choose one by its number, from 1."
        )
    if number is not None and number > len(snapshot.files):
        raise RequestRejected("which_file", f"Smelt {snapshot.id} has no file {number}.")
    return snapshot.files[(number or 1) - 1]

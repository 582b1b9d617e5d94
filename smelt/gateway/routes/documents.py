"""Transcripts and results as downloads, and the token to share one smelt."""

import time
from datetime import UTC, datetime
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from smelt.contract.events import Model
from smelt.contract.vocabulary import TranscriptFormat
from smelt.gateway.callers import Callers, CurrentCaller, SmeltReader, current_callers, not_configured
from smelt.gateway.downloads import MARKDOWN, MEDIA_TYPES, Download, documented_download, named_after
from smelt.gateway.errors import documented
from smelt.gateway.options import GatewayOptions, current_options
from smelt.gateway.states import read_snapshot
from smelt.transcripts.documents import chosen_file, results_document, transcript_document

MAX_SEQ: Final = 2**62

router = APIRouter(prefix="/api/smelts/{smelt_id}", tags=["documents"])


class IssuedToken(Model):
    """A read-only token of one smelt, for `?token=` of its GET routes."""

    smelt_id: UUID
    token: str
    expires_at: datetime


@router.get(
    "/transcript.{transcript_format}",
    response_class=Response,
    responses={200: documented_download(*MEDIA_TYPES.values()), **documented(404, 409)},
)
async def download_transcript(
    caller: SmeltReader,
    options: Annotated[GatewayOptions, Depends(current_options)],
    smelt_id: UUID,
    transcript_format: TranscriptFormat,
    file: Annotated[
        int | None, Query(ge=1, le=1000, description="The number of the file, if there are several.")
    ] = None,
) -> Response:
    """Download the transcript of a file: text, captions, or JSON; before the end, as far as it exists."""
    snapshot = await read_snapshot(caller.calls, smelt_id, with_words=True)
    document = transcript_document(snapshot, transcript_format, file, options.caption_layout)
    filename = named_after(chosen_file(snapshot, file).filename, transcript_format)
    return Download(document, MEDIA_TYPES[transcript_format], filename)


@router.get(
    "/results.md",
    response_class=Response,
    responses={200: documented_download(MARKDOWN), **documented(404, 409)},
)
async def download_results(caller: SmeltReader, smelt_id: UUID) -> Response:
    """Download the results of a completed smelt as Markdown."""
    snapshot = await read_snapshot(caller.calls, smelt_id, with_words=False)
    return Download(results_document(snapshot), MARKDOWN, named_after(snapshot.files[0].filename, "md"))


@router.post("/token", status_code=201, responses=documented(404))
async def issue_token(
    caller: CurrentCaller, callers: Annotated[Callers, Depends(current_callers)], smelt_id: UUID
) -> IssuedToken:
    """Return a token that reads this smelt for 15 minutes, for an `EventSource` or a browser without a sign-in."""
    if callers.read_tokens is None:
        raise not_configured()
    # Raises an error unless the caller may read the smelt.
    await caller.calls.get_smelt(smelt_id, after_seq=MAX_SEQ)
    token, content = callers.read_tokens.issue(smelt_id, time.time())
    expires_at = datetime.fromtimestamp(content.expires_at, UTC)
    return IssuedToken(smelt_id=smelt_id, token=token, expires_at=expires_at)

"""Smelts: create, list, read, and act on them."""

from contextlib import nullcontext
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import ConfigDict, Field

from smelt.backend.client_rpc import SmeltWithFiles
from smelt.contract.events import Model
from smelt.contract.state import Created, Unchanged
from smelt.contract.vocabulary import OPEN_STATUSES, Status
from smelt.gateway.callers import Caller, CurrentCaller, SignedInCaller, SmeltReader
from smelt.gateway.clients import SharedClients
from smelt.gateway.drain import Drain
from smelt.gateway.errors import Problem, documented
from smelt.gateway.limits import StreamPlaces, UploadPlaces, media_type
from smelt.gateway.paging import Before, Limit, cursor_after
from smelt.gateway.states import NOT_MODIFIED, SmeltState, SmeltTag, read_snapshot, state_of
from smelt.gateway.uploads import NewSmelt, NewSmeltForm, create_from_form, create_from_json
from smelt.gateway.waiting import wait_for_end

MAX_WAIT_S: Final = 60

router = APIRouter(prefix="/api/smelts", tags=["smelts"])


class CreatedSmelt(Created):
    """A new smelt; `ended` is its state at the end, if the request waited and the end came in time."""

    events_url: str
    ended: SmeltState | None = None


class SmeltCounts(Model):
    """The number of smelts of the caller by state: still open, completed, and failed."""

    open: int
    completed: int
    failed: int


class SmeltPage(Model):
    """A page of smelts, newest first; `next` is the `before` of the next page, None on the last one."""

    smelts: tuple[SmeltWithFiles, ...]
    next: str | None
    counts: SmeltCounts | None = None


class NamedSpeaker(Model):
    """A name for a speaker: `speaker` is the label in the transcript. Without `file_id`, it holds for all files."""

    model_config = ConfigDict(extra="forbid")

    speaker: Annotated[str, Field(min_length=1, max_length=100)]
    name: Annotated[str, Field(max_length=400)]
    file_id: UUID | None = None


_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": f"#/components/schemas/{NewSmelt.__name__}"}},
            "multipart/form-data": {
                "schema": {"$ref": f"#/components/schemas/{NewSmeltForm.__name__}"},
                "encoding": {name: {"contentType": "application/json"} for name in ("options", "metadata")},
            },
        },
    }
}
_LOCATION: Final[dict[int | str, dict[str, Any]]] = {
    201: {"headers": {"Location": {"description": "The path of the smelt", "schema": {"type": "string"}}}}
}


@router.post(
    "",
    status_code=201,
    openapi_extra=_BODY,
    responses={**_LOCATION, **documented(404, 408, 409, 413, 415, 429)},
)
async def create_smelt(
    request: Request,
    response: Response,
    caller: SignedInCaller,
    clients: SharedClients,
    drain: Drain,
    uploads: UploadPlaces,
    streams: StreamPlaces,
    wait: Annotated[float, Query(ge=0, le=MAX_WAIT_S, description="Seconds to wait for the end.")] = 0,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> CreatedSmelt:
    """Create a smelt of recordings in a form, or in JSON of announced files or of a text.

    A repeated request with the same `Idempotency-Key` returns the same smelt, and goes on with an interrupted upload.
    """
    with streams.taken(caller.counted_as) if wait else nullcontext():
        match media_type(request.headers):
            case "application/json":
                created = await create_from_json(request, caller, idempotency_key)
            case "multipart/form-data":
                with uploads.taken(caller.counted_as):
                    created = await create_from_form(request, caller, idempotency_key)
            case other:
                raise Problem(415, "unsupported_media_type", f"The body must be a form or JSON, not {other[:100]!r}.")
        ended = await wait_for_end(caller, clients, drain, created.id, wait) if wait else None
    response.headers["Location"] = f"/api/smelts/{created.id}"
    return CreatedSmelt(
        **dict(created),
        events_url=f"/api/smelts/{created.id}/events",
        ended=None if ended is None else state_of(ended),
    )


@router.get("", responses=documented())
async def list_smelts(
    caller: SignedInCaller,
    before: Before,
    limit: Limit = 50,
    status: Annotated[list[Status] | None, Query(description="List only these; may be repeated.")] = None,
    batch_id: Annotated[UUID | None, Query(description="List only those of this batch.")] = None,
    counts: Annotated[bool, Query(description="Also count the caller's smelts.")] = False,
) -> SmeltPage:
    """List the caller's smelts, newest first; those of all users for the service."""
    smelts = await caller.calls.list_rows(limit, statuses=status or (), batch_id=batch_id, before=before)
    return SmeltPage(
        smelts=smelts,
        next=cursor_after(smelts, limit),
        counts=await _counts(caller) if counts else None,
    )


@router.get("/{smelt_id}", response_model=SmeltState, responses={304: NOT_MODIFIED, **documented(404)})
async def get_smelt(
    response: Response,
    caller: SmeltReader,
    smelt_id: UUID,
    words: Annotated[bool, Query(description="Include the times of words, where they are known.")] = False,
    if_none_match: Annotated[str | None, Header()] = None,
) -> SmeltState | Response:
    """Return a smelt with its transcript and results.

    The response has an `ETag` while a worker has the smelt and once it has ended. In the queue it has none, as its
    position changes without a change of the smelt.
    """
    known = SmeltTag.parse(if_none_match, with_words=words)
    if known is not None:
        state = await caller.calls.get_smelt(smelt_id, after_seq=known.seq, with_words=words)
        if isinstance(state, Unchanged) and state.seq == known.seq and state.queue_position is None:
            return known.not_modified()
    snapshot = await read_snapshot(caller.calls, smelt_id, with_words=words)
    tag = SmeltTag.of(snapshot, with_words=words)
    if tag is not None:
        response.headers.update(tag.headers())
    return state_of(snapshot)


@router.post("/{smelt_id}/submit", responses=documented(404, 409, 413, 415, 429))
async def submit_smelt(caller: CurrentCaller, smelt_id: UUID) -> SmeltState:
    """Queue a smelt for the workers once its announced files are uploaded; without segments in the response."""
    return state_of(await caller.calls.submit_smelt(smelt_id))


@router.post("/{smelt_id}/cancel", responses=documented(404))
async def cancel_smelt(caller: CurrentCaller, smelt_id: UUID) -> SmeltState:
    """Cancel a smelt; one that has ended does not change."""
    return state_of(await caller.calls.cancel_smelt(smelt_id))


@router.post("/{smelt_id}/retry", responses=documented(404, 409, 410, 429))
async def retry_smelt(caller: CurrentCaller, smelt_id: UUID) -> SmeltState:
    """Start the next run of a failed or partial smelt; finished transcripts are kept."""
    return state_of(await caller.calls.retry_smelt(smelt_id))


@router.post("/{smelt_id}/speakers", responses=documented(404))
async def rename_speaker(caller: CurrentCaller, smelt_id: UUID, named: NamedSpeaker) -> SmeltState:
    """Name a speaker in the finished transcripts; without segments in the response."""
    return state_of(await caller.calls.rename_speaker(smelt_id, named.speaker, named.name, file_id=named.file_id))


@router.delete("/{smelt_id}", status_code=204, responses=documented(404, 409))
async def delete_smelt(caller: CurrentCaller, smelt_id: UUID) -> None:
    """Delete a smelt with its files, transcripts and results."""
    await caller.calls.delete_smelt(smelt_id)


async def _counts(caller: Caller) -> SmeltCounts:
    return SmeltCounts(
        open=await caller.calls.count_smelts(OPEN_STATUSES),
        completed=await caller.calls.count_smelts({"completed"}),
        failed=await caller.calls.count_smelts({"failed"}),
    )

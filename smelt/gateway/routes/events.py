"""Event streams: a smelt, a batch, all files, all notifications."""

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from smelt.gateway.callers import SignedInCaller, SmeltReader
from smelt.gateway.errors import documented
from smelt.gateway.streams.batches import BatchStream, parse_batch_event_id
from smelt.gateway.streams.event_id import EventId
from smelt.gateway.streams.files import FilesStream
from smelt.gateway.streams.hub import CurrentHub
from smelt.gateway.streams.notifications import NotificationsStream
from smelt.gateway.streams.rows import RowsStream
from smelt.gateway.streams.smelts import SmeltStream
from smelt.gateway.streams.stream import respond

router = APIRouter(prefix="/api", tags=["events"])

_EVENT: Final = {
    "type": "object",
    "properties": {
        "event": {"type": "string"},
        "data": {"type": "string", "contentMediaType": "application/json"},
        "id": {"type": "string"},
        "retry": {"type": "integer"},
    },
}
_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The stream", "content": {"text/event-stream": {"schema": _EVENT}}}
}
_ENDED: Final[dict[int | str, dict[str, Any]]] = {
    204: {"description": "The reader has the last event: an `EventSource` stops"}
}

LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", description="The id of the last event; an `EventSource` sends it.")
]
After = Annotated[str | None, Query(description="The same as `Last-Event-ID`, which takes precedence.")]


@router.get(
    "/smelts/{smelt_id}/events",
    response_class=StreamingResponse,
    responses={**_STREAM, **_ENDED, **documented(404, 429)},
)
async def smelt_events(
    smelt_id: UUID, caller: SmeltReader, hub: CurrentHub, last_event_id: LastEventId = None, after: After = None
) -> Response:
    """Stream the events of a smelt: its state, then live events, until it has ended.

    The events are those of its channel: `progress` (with new segments), `completed`, `failed`. Each has an id; a reader
    that reconnects with its last one gets each segment and the end exactly once, and of the states the newest. After
    the end, that reconnect gets 204.
    """
    last = EventId.parse(last_event_id or after)
    return await respond(SmeltStream(hub, caller, smelt_id, last))


@router.get(
    "/batches/{batch_id}/events",
    response_class=StreamingResponse,
    responses={**_STREAM, **_ENDED, **documented(404, 429)},
)
async def batch_events(
    batch_id: UUID, caller: SignedInCaller, hub: CurrentHub, last_event_id: LastEventId = None, after: After = None
) -> Response:
    """Stream the states of a batch as events `progress`, until all of its smelts have ended."""
    last_seq = parse_batch_event_id(last_event_id or after)
    return await respond(BatchStream(hub, caller, batch_id, last_seq))


@router.get("/files/events", response_class=StreamingResponse, responses={**_STREAM, **documented(429)})
async def file_events(
    caller: SignedInCaller,
    hub: CurrentHub,
    rows: Annotated[bool, Query(description="Stream changes of rows instead: of files and of smelts.")] = False,
) -> Response:
    """Stream all files of the user as messages, then each change; a heartbeat every 30 seconds.

    With `rows`, stream an event `change` for each new state of a smelt or a file, with all of its columns, and
    `smelts_deleted`; the rows that exist when it is `connected` are those of `GET /api/smelts`.
    """
    return await respond(RowsStream(hub, caller) if rows else FilesStream(hub, caller))


@router.get("/notifications/events", response_class=StreamingResponse, responses={**_STREAM, **documented(429)})
async def notification_events(caller: SignedInCaller, hub: CurrentHub) -> Response:
    """Stream the unread notifications of the user, oldest first, then new ones, as events `new_notification`."""
    return await respond(NotificationsStream(hub, caller))

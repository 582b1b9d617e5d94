"""The wire format of event streams."""

import json
from collections.abc import Mapping
from typing import Final

from fastapi.sse import format_sse_event

from smelt.errors import SmeltError
from smelt.gateway.errors import response_to

RETRY_MS: Final = 2000
"""How long a reader waits before it reconnects."""

HEADERS: Final = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}


def event(name: str | None, data: str, event_id: object = None) -> bytes:
    """Return an event; without a name it is a `message`, without an id the reader keeps the last one."""
    return format_sse_event(event=name, data_str=data, id=None if event_id is None else str(event_id))


def comment(text: str = "") -> bytes:
    """Return a comment, without an empty line, at which some readers dispatch an event without data."""
    return f":{text}\n".encode()


def retry(delay_ms: int = RETRY_MS) -> bytes:
    """Return the hint how long to wait before a reconnect: a line of the next event, or the last one of a stream."""
    return b"retry: %d\n" % delay_ms


def connected(data: Mapping[str, str]) -> bytes:
    """Return the first event of a stream."""
    return event("connected", json.dumps(data))


def error(failure: SmeltError, *, has_expired: bool) -> bytes:
    """Return the event `error`, which ends a stream: the body of the error over HTTP."""
    return event("error", bytes(response_to(failure, has_expired=has_expired).body).decode())

"""Pages of lists, newest first: a limit, and a cursor that survives new rows."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final, Protocol
from uuid import UUID

from fastapi import Depends, Query

from smelt.backend.rpc import Cursor
from smelt.gateway.errors import Problem

MAX_LIMIT: Final = 200
_PATTERN: Final = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{6})?Z_[0-9a-f-]{36}$"


class Dated(Protocol):
    """A row of a list."""

    @property
    def id(self) -> UUID: ...
    @property
    def created_at(self) -> datetime: ...


def cursor_after(rows: Sequence[Dated], limit: int) -> str | None:
    """Return the cursor of the page after these rows; None if there can be none."""
    if len(rows) < limit:
        return None
    last = rows[-1]
    return f"{last.created_at.astimezone(UTC).replace(tzinfo=None).isoformat()}Z_{last.id}"


def requested_cursor(
    before: Annotated[str | None, Query(pattern=_PATTERN, description="The `next` of the page before.")] = None,
) -> Cursor | None:
    """Return the position that a request asks for; None for the first page."""
    if before is None:
        return None
    moment, _, row_id = before.partition("_")
    try:
        return Cursor(datetime.fromisoformat(moment).astimezone(UTC), UUID(row_id))
    except (ValueError, OverflowError) as exc:
        raise Problem(422, "invalid_request", "before: must be the `next` of the page before.") from exc


Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]
Before = Annotated[Cursor | None, Depends(requested_cursor)]

"""The state of a smelt as a resource: its links, and its entity tag."""

import re
from dataclasses import dataclass
from typing import Any, Final, Self
from uuid import UUID

from fastapi import Response

from smelt.backend.client_rpc import ClientRpc
from smelt.contract.state import Snapshot
from smelt.contract.vocabulary import TERMINAL_STATUSES
from smelt.errors import Unavailable

_TAG: Final = re.compile(r'(?:W/)?"(\d{1,9})\.(\d{1,18})\.(\d{1,18})(w?)"')
NOT_MODIFIED: Final[dict[str, Any]] = {"description": "The smelt has not changed since the `If-None-Match`"}


class SmeltState(Snapshot):
    """A smelt, and where to follow it; `result_url` is where the results of a completed smelt are."""

    events_url: str
    result_url: str | None


def state_of(snapshot: Snapshot) -> SmeltState:
    """Return a snapshot with its links."""
    path = f"/api/smelts/{snapshot.id}"
    result_url = f"{path}/results.md" if snapshot.status == "completed" else None
    return SmeltState(**dict(snapshot), events_url=f"{path}/events", result_url=result_url)


async def read_snapshot(calls: ClientRpc, smelt_id: UUID, *, with_words: bool) -> Snapshot:
    """Return the whole state of a smelt."""
    state = await calls.get_smelt(smelt_id, with_words=with_words)
    if not isinstance(state, Snapshot):
        raise Unavailable("unexpected response: unchanged, without a seq in the request")
    return state


@dataclass(frozen=True)
class SmeltTag:
    """The entity tag of a smelt. It is weak: times that pass, such as `eta_seconds`, do not change it."""

    run: int
    seq: int
    segments_seq: int
    with_words: bool

    @classmethod
    def of(cls, snapshot: Snapshot, *, with_words: bool) -> Self | None:
        """Return the tag of a smelt; None while it waits, since its place in the queue changes by itself."""
        is_waiting = snapshot.queue_position is not None or snapshot.status == "pending"
        if is_waiting and snapshot.status not in TERMINAL_STATUSES:
            return None
        return cls(snapshot.run, snapshot.seq, snapshot.segments_seq, with_words)

    @classmethod
    def parse(cls, header: str | None, *, with_words: bool) -> Self | None:
        """Return the tag of an `If-None-Match`; None if it is not one of this representation."""
        found = _TAG.fullmatch(header.strip()) if header is not None and header.isascii() else None
        if found is None or bool(found[4]) is not with_words:
            return None
        return cls(int(found[1]), int(found[2]), int(found[3]), with_words)

    def headers(self) -> dict[str, str]:
        """Return the headers of a response with this tag."""
        tag = f'W/"{self.run}.{self.seq}.{self.segments_seq}{"w" if self.with_words else ""}"'
        return {"ETag": tag, "Cache-Control": "private, no-cache"}

    def not_modified(self) -> Response:
        """Return the response to a caller that has this state."""
        return Response(status_code=304, headers=self.headers())

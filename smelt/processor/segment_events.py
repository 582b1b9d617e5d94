"""`segments` events: the transcript as it grows, in pieces that fit into a broadcast. Pure."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final
from uuid import UUID, uuid4

from smelt.contract.events import ProgressEvent, Segment
from smelt.contract.work import SavedSegment

MAX_EVENT_BYTES: Final = 64 * 1024
_ENVELOPE_BYTES: Final = 1024


def segment_events(heard: Iterable[tuple[UUID, SavedSegment]], state: ProgressEvent) -> Iterator[dict[str, Any]]:
    """The payloads for segments that were saved together with `state`; each at most `MAX_EVENT_BYTES` as JSON."""
    envelope = state.model_dump(mode="json", include={"smelt_id", "seq", "run", "attempt", "eta_seconds", "emitted_at"})
    for file_id, group in groupby(heard, key=lambda pair: pair[0]):
        for piece in pieces([_public(segment) for _, segment in group], MAX_EVENT_BYTES - _ENVELOPE_BYTES):
            yield {**envelope, "event_id": str(uuid4()), "file_id": str(file_id), "segments": piece}


def pieces(segments: Sequence[dict[str, Any]], most_bytes: int) -> Iterator[list[dict[str, Any]]]:
    """Cut a list so that each piece is at most so large as JSON; a segment that is too large alone stays alone."""
    piece: list[dict[str, Any]] = []
    size = 0
    for segment in segments:
        # ASCII, as JSON encoders write by default: never smaller than what is sent.
        length = len(json.dumps(segment)) + 2
        if piece and size + length > most_bytes:
            yield piece
            piece, size = [], 0
        piece.append(segment)
        size += length
    if piece:
        yield piece


def _public(segment: SavedSegment) -> dict[str, Any]:
    return segment.model_dump(include=set(Segment.model_fields))

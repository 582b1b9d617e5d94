"""Splits new segments into `segments` events that fit into a broadcast. Pure."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final
from uuid import UUID, uuid4

from smelt.contract.events import ProgressEvent, Segment
from smelt.contract.work import SavedSegment

MAX_EVENT_BYTES: Final = 64 * 1024
_ENVELOPE_BYTES: Final = 1024


def segment_events(segments: Iterable[tuple[UUID, SavedSegment]], state: ProgressEvent) -> Iterator[dict[str, Any]]:
    """Yield the payloads for segments that were saved with `state`, each at most `MAX_EVENT_BYTES` as JSON."""
    envelope = state.model_dump(mode="json", include={"smelt_id", "seq", "run", "attempt", "eta_seconds", "emitted_at"})
    for file_id, group in groupby(segments, key=lambda pair: pair[0]):
        for piece in pieces([_public(segment) for _, segment in group], MAX_EVENT_BYTES - _ENVELOPE_BYTES):
            yield {**envelope, "event_id": str(uuid4()), "file_id": str(file_id), "segments": piece}


def pieces(segments: Sequence[dict[str, Any]], max_bytes: int) -> Iterator[list[dict[str, Any]]]:
    """Split a list into pieces of at most `max_bytes` as JSON; an oversized segment gets a piece of its own."""
    piece: list[dict[str, Any]] = []
    piece_bytes = 0
    for segment in segments:
        # ASCII, the default of JSON encoders: an upper bound of the size on the wire.
        size_bytes = len(json.dumps(segment)) + 2
        if piece and piece_bytes + size_bytes > max_bytes:
            yield piece
            piece, piece_bytes = [], 0
        piece.append(segment)
        piece_bytes += size_bytes
    if piece:
        yield piece


def _public(segment: SavedSegment) -> dict[str, Any]:
    return segment.model_dump(include=set(Segment.model_fields))

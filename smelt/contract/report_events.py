"""Makes the events of a report: one `progress` with its outputs and new segments, after those that do not fit. Pure."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Final
from uuid import UUID, uuid4

from smelt.contract.events import Output, ProgressEvent, Segment

MAX_EVENT_BYTES: Final = 64 * 1024
_ENVELOPE_BYTES: Final = 1024

Payload = dict[str, Any]


def report_events(
    segments: Iterable[tuple[UUID, Segment]], state: ProgressEvent, outputs: Sequence[Output] = ()
) -> Iterator[tuple[str, Payload]]:
    """Yield the names and payloads of the events for `state` and the segments saved with it, in the order to send.

    Each payload has at most `MAX_EVENT_BYTES` as JSON, unless a single segment is larger: `progress` contains the
    outputs, the last ones with their content as far as it fits, then the last segments that fit; the other segments go
    before it in events `segments`, each of one file.
    """
    progress = _with_fitting(outputs, state.model_dump(mode="json"))
    listed = [{"file_id": str(file_id), **_public(segment)} for file_id, segment in segments]
    first = _first_that_fits(listed, MAX_EVENT_BYTES - size_bytes(progress))
    envelope = state.model_dump(mode="json", include={"smelt_id", "seq", "run", "attempt", "eta_seconds", "emitted_at"})
    for file_id, group in groupby(listed[:first], key=lambda segment: segment["file_id"]):
        of_file = [{key: value for key, value in segment.items() if key != "file_id"} for segment in group]
        for piece in pieces(of_file, MAX_EVENT_BYTES - _ENVELOPE_BYTES):
            yield "segments", {**envelope, "event_id": str(uuid4()), "file_id": file_id, "segments": piece}
    yield "progress", {**progress, "segments": listed[first:]}


def superseded(older: Payload, newer: Payload) -> Payload | None:
    """Return `newer` with the segments of `older` before its own; None if that is too large for an event."""
    merged = {**newer, "segments": [*older["segments"], *newer["segments"]]}
    return merged if not older["segments"] or size_bytes(merged) <= MAX_EVENT_BYTES else None


def pieces(segments: Sequence[Payload], max_bytes: int) -> Iterator[list[Payload]]:
    """Split a list into pieces of at most `max_bytes` as JSON; an oversized segment gets a piece of its own."""
    piece: list[Payload] = []
    piece_bytes = 0
    for segment in segments:
        segment_bytes = size_bytes(segment)
        if piece and piece_bytes + segment_bytes > max_bytes:
            yield piece
            piece, piece_bytes = [], 0
        piece.append(segment)
        piece_bytes += segment_bytes
    if piece:
        yield piece


def size_bytes(value: Payload | str) -> int:
    """Return an upper bound of the size of a value and a separator: ASCII is the default of JSON encoders."""
    return len(json.dumps(value)) + 2


def _with_fitting(outputs: Sequence[Output], progress: Payload) -> Payload:
    """Return a progress with outputs; the first ones are without their content if it does not fit."""
    listed = [output.model_dump(mode="json") for output in outputs]
    room_bytes = MAX_EVENT_BYTES - size_bytes(
        {**progress, "outputs": [{**output, "content": None} for output in listed]}
    )
    for output in reversed(listed):
        room_bytes -= size_bytes(output["content"])
        if room_bytes < 0:
            output["content"] = None
    return {**progress, "outputs": listed}


def _first_that_fits(segments: Sequence[Payload], max_bytes: int) -> int:
    first = len(segments)
    while first and (max_bytes := max_bytes - size_bytes(segments[first - 1])) >= 0:
        first -= 1
    return first


def _public(segment: Segment) -> Payload:
    return segment.model_dump(include=set(Segment.model_fields))

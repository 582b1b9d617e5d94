"""Readers of event streams, and what they must have received of a smelt."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from httpx_sse import ServerSentEvent, aconnect_sse

from smelt.contract.events import parse_event
from smelt.contract.state import Snapshot


@dataclass
class Received:
    """All events of a smelt that a reader has received over its connections."""

    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    last_id: str | None = None

    def add(self, name: str, event_id: str, data: str) -> None:
        """Add an event with an id; `connected` and errors have none."""
        payload = json.loads(data)
        assert parse_event(name, payload) is not None, name
        self.events.append((name, payload))
        self.last_id = event_id

    @property
    def segments(self) -> list[tuple[int, str, int, str]]:
        """Run, file, index and text of each segment, in the order of the events."""
        return [
            (payload["run"], one["file_id"], one["index"], one["text"])
            for name, payload in self.events
            if name == "progress"
            for one in payload["segments"]
        ]

    @property
    def ends(self) -> list[str]:
        """The names of the terminal events."""
        return [name for name, _ in self.events if name in ("completed", "failed")]

    def assert_complete(self, state: Snapshot) -> None:
        """Assert that each segment and the end were received exactly once."""
        assert max(Counter((run, file, index) for run, file, index, _ in self.segments).values(), default=1) == 1
        stored = {(str(one.file_id), one.index, one.text) for one in state.segments}
        assert {(file, index, text) for run, file, index, text in self.segments if run == state.run} == stored
        assert self.ends == [state.status]
        assert self.events[-1][0] == state.status


@asynccontextmanager
async def stream(http: httpx.AsyncClient, path: str, last_id: str | None = None) -> AsyncIterator["EventReader"]:
    """Open a stream of a gateway; fail unless it begins."""
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    async with aconnect_sse(http, "GET", path, headers=headers) as source:
        source.response.raise_for_status()
        yield EventReader(source.response, source.aiter_sse())


class EventReader:
    """The events of one connection."""

    def __init__(self, response: httpx.Response, events: AsyncIterator[ServerSentEvent]) -> None:
        self.response = response
        self._events = events

    async def next(self, timeout_s: float = 30.0) -> ServerSentEvent:
        """Return the next event; raise `StopAsyncIteration` at the end of the stream."""
        async with asyncio.timeout(timeout_s):
            return await anext(self._events)

    async def rest(self, timeout_s: float = 60.0) -> list[ServerSentEvent]:
        """Return all events to the end of the stream."""
        async with asyncio.timeout(timeout_s):
            return [event async for event in self._events]


async def read_smelt(
    http: httpx.AsyncClient, path: str, received: Received, *, is_enough: Callable[[Received], bool] = lambda _: False
) -> int:
    """Read a smelt from where the reader was, until the stream ends or the reader has enough; return the status."""
    headers = {} if received.last_id is None else {"Last-Event-ID": received.last_id}
    async with aconnect_sse(http, "GET", path, headers=headers) as source:
        if source.response.status_code != httpx.codes.OK:
            return source.response.status_code
        async for event in source.aiter_sse():
            if event.event != "connected":
                received.add(event.event, event.id, event.data)
            if is_enough(received):
                break
        return source.response.status_code

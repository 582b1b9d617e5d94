"""The stream of one batch: its newest state until all of its smelts have ended."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from uuid import UUID

from smelt.contract.batches import TERMINAL_BATCH_STATUSES, Batch, BatchEvent
from smelt.gateway.callers import Caller
from smelt.gateway.streams import frames
from smelt.gateway.streams.hub import Hub, Source
from smelt.gateway.streams.stream import Stream
from smelt.subscriber.client import Client


class BatchSource(Source):
    """One watch of a batch, for all of its readers."""

    def __init__(self, batch_id: UUID) -> None:
        super().__init__()
        self.newest: BatchEvent | None = None
        self._batch_id = batch_id

    async def follow(self, client: Client) -> None:
        """Keep the newest state, until all smelts have ended."""
        async with aclosing(client.watch_batch(self._batch_id)) as states:
            async for state in states:
                self.newest = BatchEvent.model_validate(state.model_dump())
                self.wake()


class BatchStream(Stream):
    """The states of one batch for one reader; `last_seq` is the `seq` of the last event that it has."""

    def __init__(self, hub: Hub, caller: Caller, batch_id: UUID, last_seq: int | None) -> None:
        super().__init__(hub, caller)
        self._batch_id = batch_id
        self._last_seq = last_seq
        self._row: Batch | None = None

    async def authorize(self) -> bool:
        """Read the batch; return False if the reader has its end."""
        self._row = await self.caller.calls.get_batch(self._batch_id)
        return self._row.status not in TERMINAL_BATCH_STATUSES or self._row.seq != self._last_seq

    def opening(self) -> bytes:
        """Return the event `connected`."""
        return frames.connected({"batch_id": str(self._batch_id)})

    async def frames(self) -> AsyncGenerator[bytes | None, None]:
        """Yield the state, then each newer one to the end."""
        assert self._row is not None
        state = BatchEvent.model_validate({**self._row.model_dump(), "batch_id": self._batch_id})
        yield _frame(state)
        while state.status not in TERMINAL_BATCH_STATUSES:
            subject = ("batch", self._batch_id)
            with self.hub.joined(self.caller, subject, self.changed, lambda: BatchSource(self._batch_id)) as source:
                while state.status not in TERMINAL_BATCH_STATUSES:
                    newest = source.newest
                    if newest is not None and newest.seq > state.seq:
                        state = newest
                        yield _frame(state)
                    elif source.is_closed:
                        break
                    else:
                        yield None
            if source.error is not None:
                async with aclosing(self.rejoin()) as waiting:
                    async for _ in waiting:
                        yield None


def _frame(state: BatchEvent) -> bytes:
    return frames.event("progress", state.model_dump_json(), state.seq)


def parse_batch_event_id(text: str | None) -> int | None:
    """Return the `seq` that a reader sent; None if there is none, or it has another form."""
    return int(text) if text is not None and re.fullmatch("[0-9]{1,18}", text) else None

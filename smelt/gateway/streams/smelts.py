"""The stream of one smelt: its state, then live events to its end."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final
from uuid import UUID

from smelt.contract.state import Snapshot, Unchanged
from smelt.errors import TransientError, Unavailable
from smelt.gateway.callers import Caller
from smelt.gateway.streams import frames
from smelt.gateway.streams.event_id import EventId
from smelt.gateway.streams.hub import Hub, Source
from smelt.gateway.streams.smelt_log import SmeltLog, SmeltReader
from smelt.gateway.streams.stream import READ_RETRY_S, REJOIN_DELAY_S, Stream
from smelt.subscriber.client import Client, open_watch
from smelt.subscriber.updates import Completed, Failed, Progress, Segments
from smelt.subscriber.watch import Watch

MAX_SEQ: Final = 2**63 - 1


class SmeltSource(Source):
    """One watch of a smelt, for all of its readers."""

    def __init__(self, smelt_id: UUID) -> None:
        super().__init__()
        self.log = SmeltLog()
        self._smelt_id = smelt_id
        self._watch: Watch | None = None
        self._refreshed: asyncio.Future[None] | None = None

    async def follow(self, client: Client) -> None:
        """Pass the updates of the watch on, until the smelt has ended."""
        self._watch = watch = open_watch(client, self._smelt_id)
        async with aclosing(watch.items()) as items:
            async for item in items:
                if isinstance(item, Completed | Failed):
                    self.log.conclude(item, watch.segments_seq)
                elif isinstance(item, Progress | Segments):
                    self.log.add(item)
                    self._settle()

    def refresh(self) -> None:
        """Read the state as soon as possible, unless a read is under way."""
        if self._watch is not None and (self._refreshed is None or self._refreshed.done()):
            self._refreshed = self._watch.refresh()
            self._refreshed.add_done_callback(lambda _: self._settle())

    def _settle(self) -> None:
        watch = self._watch
        if watch is None or watch.pending_count:
            return
        self.log.settle(watch.segments_seq)
        if self.log.is_holding:
            self.refresh()
        self.wake()


class SmeltStream(Stream):
    """The events of one smelt for one reader.

    Args:
        hub: Shares the watch.
        caller: Who reads.
        smelt_id: The smelt.
        last: The id of the last event that the reader has; None to start from the state.
    """

    def __init__(self, hub: Hub, caller: Caller, smelt_id: UUID, last: EventId | None) -> None:
        super().__init__(hub, caller)
        self._smelt_id = smelt_id
        self._last = last
        self._reader: SmeltReader | None = None
        self._first: Snapshot | None = None

    async def authorize(self) -> bool:
        """Read the state before the response starts; later, check only the permission."""
        if self._reader is not None:
            await self.caller.calls.get_smelt(self._smelt_id, after_seq=MAX_SEQ)
            return True
        self._reader = SmeltReader(self._last)
        self._first = await self._read()
        if self._last is not None and not self._last.is_of(self._first):
            self._last, self._reader = None, SmeltReader(None)
            self._first = await self._read()
        return self._last is None or not self._last.is_end_of(self._first)

    def opening(self) -> bytes:
        """Return the event `connected`."""
        return frames.connected({"smelt_id": str(self._smelt_id)})

    async def frames(self) -> AsyncGenerator[bytes | None, None]:
        """Yield the state, then live events to the end of the smelt."""
        assert self._reader is not None
        assert self._first is not None
        reader = self._reader
        for first in reader.events_of(self._first):
            yield first
        self._first = None
        while not reader.is_over:
            async with aclosing(self._live(reader)) as live:
                async for frame in live:
                    yield frame

    async def _live(self, reader: SmeltReader) -> AsyncGenerator[bytes | None, None]:
        """Yield the events of the shared watch until it is closed, which may be before the end of the smelt."""
        subject = ("smelt", self._smelt_id)
        with self.hub.joined(self.caller, subject, self.changed, lambda: SmeltSource(self._smelt_id)) as source:
            while not source.is_closed and (place := reader.enter(source.log)) != "entered":
                if place == "behind":
                    source.refresh()
                    yield None
                    continue
                async with aclosing(self._read_again(reader)) as read:
                    async for frame in read:
                        yield frame
            while not reader.is_over and ((frame := reader.take()) or not source.is_closed):
                yield frame
        if not reader.is_over:
            async with aclosing(self._read_again(reader, delay_s=REJOIN_DELAY_S if source.error else 0.0)) as read:
                async for frame in read:
                    yield frame

    async def _read_again(self, reader: SmeltReader, delay_s: float = 0.0) -> AsyncGenerator[bytes | None, None]:
        """Read the state with the credential of the reader, and yield its events; wait while it can't be read."""
        while True:
            with self.timer(delay_s) as is_over:
                while not is_over():
                    yield None
            try:
                snapshot = await self._read()
                break
            except TransientError:
                delay_s = READ_RETRY_S
        for frame in reader.events_of(snapshot):
            yield frame

    async def _read(self) -> Snapshot:
        assert self._reader is not None
        state = await self.caller.calls.get_smelt(self._smelt_id, segments_after=self._reader.segments_after)
        if isinstance(state, Unchanged):
            raise Unavailable("unexpected response: unchanged, without a seq in the request")
        return state

"""Watching a batch until its last smelt has ended."""

import logging
from collections.abc import AsyncGenerator
from uuid import UUID

from pydantic import ValidationError

from smelt.backend.client_rpc import ClientRpc
from smelt.backend.realtime import Broadcast, LiveEvent, RealtimeConnection
from smelt.contract.batches import TERMINAL_BATCH_STATUSES, Batch, BatchEvent
from smelt.contract.channels import batch_channel
from smelt.contract.events import error_summary
from smelt.subscriber.live_iterator import LiveIterator
from smelt.subscriber.updates import BatchProgress

logger = logging.getLogger(__name__)


class BatchWatch(LiveIterator[BatchProgress]):
    """Watches one batch through events and reads; a slow consumer gets the newest state only."""

    def __init__(self, batch_id: UUID, realtime: RealtimeConnection, calls: ClientRpc, *, polling: bool) -> None:
        super().__init__("batch watch", realtime, self._pop, polling=polling)
        self._batch_id = batch_id
        self._calls = calls
        self._newest: BatchProgress | None = None
        self._emitted_seq = -1

    async def updates(self) -> AsyncGenerator[BatchProgress, None]:
        """Yield each newer state until all smelts of the batch have ended."""
        async with self:
            async for state in self:
                yield state
                if state.status in TERMINAL_BATCH_STATUSES:
                    return

    async def _join(self) -> None:
        await self._reconciler.start(self._realtime, batch_channel(str(self._batch_id)))

    async def _read(self) -> None:
        self._add(_of_row(await self._calls.get_batch(self._batch_id)))

    def _pop(self) -> BatchProgress | None:
        newest = self._newest
        if newest is None or newest.seq <= self._emitted_seq:
            return None
        self._emitted_seq = newest.seq
        return newest

    def _add(self, state: BatchProgress) -> None:
        if self._newest is None or state.seq > self._newest.seq:
            self._newest = state
            self._inbox.wake()

    def _merge(self, event: LiveEvent) -> None:
        if not isinstance(event, Broadcast) or event.event != "progress":
            return
        try:
            parsed = BatchEvent.model_validate(event.payload)
        except ValidationError as exc:
            logger.warning("batch %s: a malformed event: %s", self._batch_id, error_summary(exc))
            return
        if parsed.batch_id == self._batch_id:
            self._add(_of_event(parsed))


def _of_event(event: BatchEvent) -> BatchProgress:
    return BatchProgress.model_validate(event.model_dump())


def _of_row(batch: Batch) -> BatchProgress:
    return BatchProgress.model_validate({**batch.model_dump(), "batch_id": batch.id})

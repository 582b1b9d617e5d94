"""Follows a batch from wherever it is to the end of its last smelt."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncGenerator
from uuid import UUID

from pydantic import ValidationError

from smelt.backend.client_calls import ClientCalls
from smelt.backend.realtime import Channel, RealtimeConnection
from smelt.backend.retrying import reconnect_wait_s
from smelt.contract.batches import BATCH_OVER, Batch, BatchEvent
from smelt.contract.channels import batch_channel
from smelt.errors import Passing, SmeltError
from smelt.subscriber.freshness import freshness, poll_in_s
from smelt.subscriber.updates import BatchProgress
from smelt.subscriber.watch import FIRST_READ_S

logger = logging.getLogger(__name__)


class BatchWatch:
    """One batch, followed live and by reading; whoever is slow gets the newest state."""

    def __init__(self, batch_id: UUID, realtime: RealtimeConnection, calls: ClientCalls, *, polling: bool) -> None:
        self._batch_id = batch_id
        self._realtime = realtime
        self._calls = calls
        self._polling = polling
        self._newest: BatchProgress | None = None
        self._error: SmeltError | None = None
        self._news = asyncio.Event()
        self._channel: Channel | None = None
        self._left_at: float | None = None
        self._read_at = time.monotonic() + FIRST_READ_S if polling else float("inf")
        self._failures = 0

    async def updates(self) -> AsyncGenerator[BatchProgress, None]:
        """Every state that is newer than the one before, until all smelts of the batch have ended."""
        self._channel = await self._realtime.join(
            batch_channel(str(self._batch_id)), on_message=self._hear, on_joined=self._joined, on_left=self._left
        )
        told_seq = -1
        try:
            while True:
                newest = self._newest
                if newest is not None and newest.seq > told_seq:
                    told_seq = newest.seq
                    yield newest
                    if newest.status in BATCH_OVER:
                        return
                    continue
                if self._error is not None:
                    raise self._error
                await self._wait_or_read()
        finally:
            await self._channel.leave()

    async def _wait_or_read(self) -> None:
        self._news.clear()
        wait_s = self._read_at - time.monotonic()
        if wait_s <= 0:
            await self._read()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if wait_s == float("inf") else wait_s):
                await self._news.wait()

    async def _read(self) -> None:
        try:
            self._take(_of_row(await self._calls.get_batch(self._batch_id)))
        except Passing as exc:
            self._failures += 1
            wait_s = 1 + reconnect_wait_s(self._failures)
            logger.info("reading batch %s again in %.1f s: %s", self._batch_id, wait_s, exc)
            self._read_at = time.monotonic() + wait_s
        else:
            self._failures = 0
            self._plan()

    def _plan(self) -> None:
        joined = self._channel is not None and self._channel.joined
        left_s_ago = None if self._left_at is None else time.monotonic() - self._left_at
        wait_s = poll_in_s(freshness(joined, left_s_ago), None, random.random())
        self._read_at = time.monotonic() + wait_s if self._polling else float("inf")

    def _take(self, state: BatchProgress) -> None:
        if self._newest is None or state.seq > self._newest.seq:
            self._newest = state
            self._news.set()

    def _hear(self, event: str, payload: object) -> None:
        if event != "progress":
            return
        try:
            heard = BatchEvent.model_validate(payload)
        except ValidationError as exc:
            logger.warning("batch %s: a malformed event: %s", self._batch_id, exc)
            return
        if heard.batch_id == self._batch_id:
            self._take(_of_event(heard))

    def _joined(self) -> None:
        self._read_at = time.monotonic()
        self._news.set()

    def _left(self, error: Exception | None) -> None:
        self._left_at = time.monotonic()
        if isinstance(error, SmeltError) and not self._polling:
            self._error = error
        elif self._polling:
            planned_at = self._read_at
            self._plan()
            self._read_at = min(self._read_at, planned_at)
        self._news.set()


def _of_event(event: BatchEvent) -> BatchProgress:
    return BatchProgress.model_validate(event.model_dump())


def _of_row(batch: Batch) -> BatchProgress:
    return BatchProgress.model_validate({**batch.model_dump(), "batch_id": batch.id})

"""Broadcasts: over the channel of a smelt while it is joined, over REST otherwise; both acknowledged."""

import asyncio
import logging
from typing import Any, Final
from uuid import UUID

from smelt.backend.project import Project
from smelt.backend.realtime import Channel
from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.work import OutboxMessage
from smelt.errors import SmeltError
from smelt.processor.metrics import Metrics

logger = logging.getLogger(__name__)

_SWEEP_INTERVAL_S: Final = 5.0


class Announcer:
    """Sends what watchers should hear; what the outbox owes is struck off only after an acknowledgement."""

    def __init__(self, project: Project, worker_id: str, metrics: Metrics | None = None) -> None:
        self._project = project
        self._calls = WorkerRpc(project.rpc)
        self._worker_id = worker_id
        self._metrics = metrics or Metrics()

    async def deliver(self, topic: str, event: str, payload: dict[str, Any], channel: Channel | None = None) -> bool:
        """Broadcast once; True after an acknowledgement, False when neither way had one."""
        if channel is not None and channel.joined and await channel.send(event, payload):
            return True
        try:
            await self._project.realtime.post(topic, event, payload)
        except SmeltError as exc:
            logger.warning("%s on %s was not acknowledged: %s", event, topic, exc)
            self._metrics.unheard(event)
            return False
        return True

    async def announce(self, smelt_id: UUID, channel: Channel | None) -> None:
        """Send what the outbox owes for one smelt, now; what fails is left to a sweep, of this worker or another."""
        try:
            owed = await self._calls.claim_outbox(self._worker_id, smelt_id=smelt_id)
            await self._send_owed(owed, channel)
        except SmeltError as exc:
            logger.warning("smelt %s: its end is announced by a later sweep: %s", smelt_id, exc)

    async def sweep(self) -> None:
        """Send what other workers left in the outbox; raises `SmeltError` while the database does not answer."""
        while owed := await self._calls.claim_outbox(self._worker_id):
            if not await self._send_owed(owed, None):
                return

    async def run_sweeps(self) -> None:
        """Sweep every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(_SWEEP_INTERVAL_S)
            try:
                await self.sweep()
            except SmeltError as exc:
                logger.warning("sweeping the outbox: %s", exc)

    async def _send_owed(self, owed: tuple[OutboxMessage, ...], channel: Channel | None) -> int:
        sent: list[int] = []
        for message in owed:
            own = channel if channel is not None and channel.topic == message.topic else None
            if await self.deliver(message.topic, message.event, message.payload, own):
                sent.append(message.id)
        if sent:
            await self._calls.settle_outbox(sent)
        return len(sent)

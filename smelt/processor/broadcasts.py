"""Broadcasts: over the channel of a smelt while it is joined, otherwise over REST; both are acknowledged."""

import logging
from typing import Any, Final
from uuid import UUID

from smelt.backend.project import Project
from smelt.backend.realtime import Channel
from smelt.backend.worker_rpc import WorkerRpc
from smelt.contract.work import OutboxMessage
from smelt.errors import SmeltError
from smelt.processor.metrics import Metrics
from smelt.processor.periodic import Periodic

logger = logging.getLogger(__name__)

_SWEEP_INTERVAL_S: Final = 5.0


class Announcer:
    """Broadcasts events; a message of the outbox is settled only after an acknowledgement."""

    def __init__(self, project: Project, worker_id: str, metrics: Metrics | None = None) -> None:
        self._project = project
        self._calls = WorkerRpc(project.rpc)
        self._worker_id = worker_id
        self._metrics = metrics or Metrics()

    async def broadcast(self, topic: str, event: str, payload: dict[str, Any], channel: Channel | None = None) -> bool:
        """Send an event once; return True if it was acknowledged over the channel or REST."""
        if channel is not None and channel.joined and await channel.send(event, payload):
            return True
        try:
            await self._project.realtime.post(topic, event, payload)
        except SmeltError as exc:
            logger.warning("%s on %s was not acknowledged: %s", event, topic, exc)
            self._metrics.unacknowledged(event)
            return False
        return True

    async def send_outbox(
        self, smelt_id: UUID, channel: Channel | None, messages: tuple[OutboxMessage, ...] | None = None
    ) -> None:
        """Broadcast the outbox messages of one smelt; a sweep of any worker repeats what fails.

        `messages` are already leased to this worker; without them, the unsent ones are claimed.
        """
        try:
            if messages is None:
                messages = await self._calls.claim_outbox(self._worker_id, smelt_id=smelt_id)
            await self._send(messages, channel)
        except SmeltError as exc:
            logger.warning("smelt %s: sending its outbox failed, a later sweep repeats it: %s", smelt_id, exc)

    async def sweep(self) -> None:
        """Broadcast what other workers left in the outbox; raises `SmeltError` if the database does not respond."""
        while messages := await self._calls.claim_outbox(self._worker_id):
            if not await self._send(messages, None):
                return

    async def run_sweeps(self) -> None:
        """Sweep every 5 s, until cancelled."""
        await Periodic("sweeping the outbox", self.sweep, _SWEEP_INTERVAL_S, at_once=False, logged=SmeltError).run()

    async def _send(self, messages: tuple[OutboxMessage, ...], channel: Channel | None) -> int:
        sent: list[int] = []
        for message in messages:
            own_channel = channel if channel is not None and channel.topic == message.topic else None
            if await self.broadcast(message.topic, message.event, message.payload, own_channel):
                sent.append(message.id)
        if sent:
            await self._calls.settle_outbox(sent)
        return len(sent)

"""Claims due deliveries of webhooks and sends them, apart from the rest of a worker."""

import asyncio
import logging
from typing import Final

from smelt.backend.project import Project
from smelt.backend.webhook_rpc import DeliveryRpc
from smelt.contract.webhooks import ClaimedDelivery
from smelt.errors import SmeltError
from smelt.processor.metrics import Metrics
from smelt.processor.periodic import Periodic
from smelt.processor.webhooks.sender import MAX_PLACES, Sender

logger = logging.getLogger(__name__)

_POLL_INTERVAL_S: Final = 5.0
# Longer than an attempt and its settlement: when it expires, the worker was killed or the result is lost.
_LEASE_S: Final = 30


class Deliveries:
    """Sends up to four deliveries at a time; the database decides about retries.

    Delivery is at least once: a delivery without a settlement is sent again, with the same id, once its lease has
    expired.
    """

    def __init__(self, project: Project, worker_id: str, metrics: Metrics, sender: Sender) -> None:
        self._calls = DeliveryRpc(project.rpc)
        self._worker_id = worker_id
        self._metrics = metrics
        self._sender = sender
        self._sending: set[asyncio.Task[None]] = set()
        self._claims = Periodic("claiming webhooks", self._start_due, _POLL_INTERVAL_S, logged=SmeltError)
        self._claiming = asyncio.Lock()

    def request(self) -> None:
        """Claim soon: a smelt has ended, or there is room."""
        self._claims.request()

    async def run_deliveries(self) -> None:
        """Send what is due, on request and every 5 s, until cancelled."""
        try:
            await self._claims.run()
        finally:
            for task in self._sending:
                task.cancel()
            if self._sending:
                await asyncio.wait(self._sending)
            await self._sender.aclose()

    async def send_due(self) -> None:
        """Send everything that is due once; raise `SmeltError` if the database does not respond."""
        while await self._start_due() or self._sending:
            await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)

    async def _start_due(self) -> int:
        async with self._claiming:
            free_count = MAX_PLACES - len(self._sending)
            if free_count <= 0:
                return 0
            claimed = await self._calls.claim(self._worker_id, free_count, lease_s=_LEASE_S)
            for delivery in claimed:
                task = asyncio.create_task(self._deliver(delivery), name=f"webhook {delivery.webhook_id}")
                self._sending.add(task)
                task.add_done_callback(self._on_sent)
            return len(claimed)

    def _on_sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self.request()
        if not task.cancelled() and (exc := task.exception()) is not None:
            logger.error("%s: sending crashed, its lease will expire", task.get_name(), exc_info=exc)

    async def _deliver(self, delivery: ClaimedDelivery) -> None:
        result = await self._sender.send(delivery)
        try:
            settled = await self._calls.settle(
                delivery.id,
                delivery.attempt,
                status_code=result.status_code,
                error=result.error,
                duration_ms=result.duration_ms,
            )
        except SmeltError as exc:
            logger.warning(
                "webhook %s: settling %s failed, it is sent again: %s", delivery.webhook_id, delivery.id, exc
            )
            return
        outcome = "retrying" if settled.status == "pending" else settled.status
        self._metrics.webhook_attempted(outcome)
        if settled.status != "delivered":
            cause = result.error or f"HTTP {result.status_code}"
            logger.warning(
                "webhook %s: attempt %s of %s failed (%s), %s",
                delivery.webhook_id, delivery.attempt, delivery.id, cause, outcome,
            )  # fmt: skip
        if settled.disabled_reason is not None:
            logger.warning("webhook %s is disabled: %s", delivery.webhook_id, settled.disabled_reason)

"""Typed calls of the SQL functions for webhooks, those of clients and those of workers."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from smelt.backend.rpc import Rpc, RpcResponse, parse
from smelt.contract.webhooks import (
    ClaimedDelivery,
    Delivery,
    RequestedTest,
    SettledDelivery,
    Webhook,
    WebhookEvent,
    WebhookWithSecret,
)


class _Webhooks(RpcResponse[tuple[Webhook, ...]]):
    pass


class _Deliveries(RpcResponse[tuple[Delivery, ...]]):
    pass


class _ClaimedDeliveries(RpcResponse[tuple[ClaimedDelivery, ...]]):
    pass


@dataclass(frozen=True)
class WebhookRpc:
    """Calls of a signed-in user, or of the service for the project; webhooks of other users raise `NotFound`."""

    rpc: Rpc

    async def create(self, url: str, events: Sequence[WebhookEvent] | None = None) -> WebhookWithSecret:
        """Create a webhook for all events, or for some. Not retried: a second call would create a second webhook."""
        listed = None if events is None else list(events)
        return parse(WebhookWithSecret, await self.rpc.call_once("create_smelt_webhook", url=url, events=listed))

    async def list(self, count: int) -> tuple[Webhook, ...]:
        """Return the newest webhooks of the signed-in user, of all users and the project for the service."""
        return parse(_Webhooks, await self.rpc.newest("smelt_webhooks", "*", count)).root

    async def update(
        self,
        webhook_id: UUID,
        *,
        url: str | None = None,
        events: Sequence[WebhookEvent] | None = None,
        enabled: bool | None = None,
    ) -> Webhook:
        """Change a webhook, disable it, or enable it again; None leaves a value as it is."""
        listed = None if events is None else [*events]
        response = await self.rpc.call(
            "update_smelt_webhook", webhook_id=webhook_id, url=url, events=listed, enabled=enabled
        )
        return parse(Webhook, response)

    async def rotate_secret(self, webhook_id: UUID, overlap_h: float = 24) -> WebhookWithSecret:
        """Replace the secret; the old one signs as well for `overlap_h` hours. Not retried, to keep the old one."""
        response = await self.rpc.call_once("rotate_smelt_webhook_secret", webhook_id=webhook_id, overlap_h=overlap_h)
        return parse(WebhookWithSecret, response)

    async def delete(self, webhook_id: UUID) -> None:
        """Delete a webhook with its deliveries. Not retried: a second call would not find it."""
        await self.rpc.call_once("delete_smelt_webhook", webhook_id=webhook_id)

    async def test(self, webhook_id: UUID) -> RequestedTest:
        """Enqueue a test, which a worker sends. Not retried: only one test may wait."""
        return parse(RequestedTest, await self.rpc.call_once("test_smelt_webhook", webhook_id=webhook_id))

    async def deliveries(
        self, webhook_id: UUID, count: int = 50, *, delivery_id: UUID | None = None
    ) -> tuple[Delivery, ...]:
        """Return the newest deliveries of the last week, or one of them."""
        response = await self.rpc.call(
            "get_smelt_webhook_deliveries", webhook_id=webhook_id, max_count=count, delivery_id=delivery_id
        )
        return parse(_Deliveries, response).root


@dataclass(frozen=True)
class DeliveryRpc:
    """Calls of a worker; they need the project's secret key."""

    rpc: Rpc

    async def claim(self, worker_id: str, max_count: int, *, lease_s: int) -> tuple[ClaimedDelivery, ...]:
        """Lease due deliveries, at most one of each webhook. Not retried: the leases of a lost response expire."""
        response = await self.rpc.call_once(
            "claim_smelt_webhook_deliveries", worker_id=worker_id, max_count=max_count, lease_s=lease_s
        )
        return parse(_ClaimedDeliveries, response).root

    async def settle(
        self, delivery_id: UUID, attempt: int, *, status_code: int | None, error: str | None, duration_ms: int
    ) -> SettledDelivery:
        """Settle an attempt with the status code of the response, or with an error; it may be repeated."""
        response = await self.rpc.call(
            "settle_smelt_webhook_delivery",
            delivery_id=delivery_id,
            attempt=attempt,
            status_code=status_code,
            error=error,
            duration_ms=duration_ms,
        )
        return parse(SettledDelivery, response)

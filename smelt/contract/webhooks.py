"""Webhooks, the payloads of their requests, their deliveries, and the claims of workers that send them."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from smelt.contract.events import Model
from smelt.contract.vocabulary import ErrorCode, Outcome

WebhookEvent = Literal["smelt.completed", "smelt.failed", "batch.completed"]
"""The events that a webhook may subscribe to."""

DisabledReason = Literal["requested", "failing", "gone"]
"""Why a webhook is disabled: by a call, after a day of failures, or by a response 410."""

DeliveryStatus = Literal["pending", "delivered", "failed"]


class Webhook(Model):
    """A row of `smelt_webhooks`; without a `user_id` it is one of the project, which gets the events of all smelts."""

    id: UUID
    user_id: UUID | None
    url: str
    events: tuple[WebhookEvent, ...]
    enabled: bool
    disabled_reason: DisabledReason | None
    last_attempt_at: datetime | None
    created_at: datetime
    updated_at: datetime


class WebhookWithSecret(Webhook):
    """The response of the calls that make a secret, `whsec_` and base64, which no other call returns."""

    secret: str


class EndedSmelt(Model):
    """A smelt that has ended; `user_id` is None for a smelt of a visitor, `metadata` is JSON of the app."""

    id: UUID
    status: Literal["completed", "failed"]
    outcome: Outcome | None
    error_code: ErrorCode | None
    run: int
    batch_id: UUID | None
    user_id: UUID | None
    metadata: dict[str, Any]


class SmeltWebhook(Model):
    """The body of a request about the end of a smelt."""

    type: Literal["smelt.completed", "smelt.failed"]
    timestamp: datetime
    data: EndedSmelt


class EndedBatch(Model):
    """A batch of which all smelts have ended; it has `failed` if all of them did."""

    id: UUID
    status: Literal["completed", "failed"]
    total: int
    completed: int
    failed: int
    user_id: UUID


class BatchWebhook(Model):
    """The body of a request about the end of all smelts of a batch."""

    type: Literal["batch.completed"]
    timestamp: datetime
    data: EndedBatch


class WebhookTestData(Model):
    """The webhook of a test."""

    id: UUID


class WebhookTest(Model):
    """The body of a test."""

    type: Literal["webhook.test"]
    timestamp: datetime
    data: WebhookTestData


class RequestedTest(Model):
    """The response of `test_smelt_webhook`."""

    delivery_id: UUID
    worker_online: bool


class Delivery(Model):
    """A delivery with its last attempt: a `status_code`, or an `error` if there was no response.

    `id` is the `webhook-id` of all attempts. `next_at` is when the next one is due, None after the end.
    """

    id: UUID
    event: str
    payload: dict[str, Any]
    status: DeliveryStatus
    attempt: int
    status_code: int | None
    error: str | None
    duration_ms: int | None
    created_at: datetime
    attempted_at: datetime | None
    next_at: datetime | None
    ended_at: datetime | None


class ClaimedDelivery(Model):
    """A delivery that is leased to a worker.

    `sent_at` is in seconds since 1970, by the database's clock. A request is signed with each of the `secrets`.
    """

    id: UUID
    webhook_id: UUID
    event: str
    attempt: int
    url: str
    body: str
    sent_at: int
    secrets: tuple[str, ...]


class SettledDelivery(Model):
    """The response of `settle_smelt_webhook_delivery`.

    `lost`: a newer attempt has been claimed, and nothing changed. `disabled_reason` is set if the attempt disabled the
    webhook.
    """

    status: DeliveryStatus | Literal["lost"]
    disabled_reason: DisabledReason | None

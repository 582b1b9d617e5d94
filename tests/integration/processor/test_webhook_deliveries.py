"""Deliveries of webhooks: at least once, by one worker at a time, for a day, and apart from broadcasts."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from standardwebhooks import Webhook

from smelt.backend.project import Project
from smelt.backend.webhook_rpc import WebhookRpc
from smelt.contract.webhooks import Delivery, WebhookWithSecret
from smelt.processor.metrics import Metrics
from smelt.processor.webhooks import Deliveries, Sender
from tests.harness.stacks import Stack
from tests.harness.waiting import until
from tests.harness.webhook_endpoints import Endpoint, ReceivedRequest, hang, running_endpoint, status
from tests.harness.worker_harness import AppClient, WorkerProcess, running_worker, user_client


@dataclass
class Receiver:
    """An app with a webhook, and its endpoint."""

    app: AppClient
    webhook: WebhookWithSecret
    endpoint: Endpoint

    @property
    def calls(self) -> WebhookRpc:
        return WebhookRpc(self.app.project.rpc)

    async def deliveries(self) -> tuple[Delivery, ...]:
        """Return the deliveries, the oldest first."""
        return (await self.calls.deliveries(self.webhook.id))[::-1]

    async def end_smelt(self) -> UUID:
        """Create a smelt and cancel it."""
        created = await self.app.create_without_upload(text_input="notes", submit=False)
        await self.app.calls.cancel_smelt(created.id)
        return created.id

    def verified(self, request: ReceivedRequest) -> Any:
        """Return the payload of a request if its signature is valid."""
        return Webhook(self.webhook.secret).verify(request.body, request.headers)


@asynccontextmanager
async def receiving(app: AppClient, endpoint: Endpoint, *events: Any) -> AsyncIterator[Receiver]:
    """Create a webhook for an endpoint, and delete it at the end: workers of other tests must not send to it."""
    calls = WebhookRpc(app.project.rpc)
    webhook = await calls.create(endpoint.url, events or None)
    yield Receiver(app, webhook, endpoint)
    await calls.delete(webhook.id)


@pytest.fixture
async def receiver(project: Stack) -> AsyncIterator[Receiver]:
    """A new user with one webhook."""
    async with user_client(project) as app, running_endpoint() as endpoint, receiving(app, endpoint) as receiver:
        yield receiver


@asynccontextmanager
async def sending(project: Stack, worker_id: str = "sender") -> AsyncIterator[Deliveries]:
    """The part of a worker that sends webhooks."""
    async with Project(project.api_url, project.service_role_key) as service:
        sender = Sender(allow_private=True)
        yield Deliveries(service, worker_id, Metrics(), sender)
        await sender.aclose()


async def send_due(project: Stack) -> None:
    """Send everything that is due."""
    async with sending(project) as deliveries:
        await deliveries.send_due()


def change_deliveries(project: Stack, receiver: Receiver, values: str) -> None:
    """Set values of the pending deliveries of a webhook, such as the time of the next attempt."""
    with psycopg.connect(project.db_url, autocommit=True) as owner:
        owner.execute(
            f"update smelt.webhook_deliveries set {values} where webhook_id = %s and status = 'pending'",
            [receiver.webhook.id],
        )


def make_due(project: Stack, receiver: Receiver) -> None:
    """Move the next attempts of a webhook to now, instead of a wait of up to eight hours."""
    change_deliveries(project, receiver, "next_at = now()")


async def test_webhook_gets_the_end_of_a_smelt_and_of_its_batch_from_a_worker(
    project: Stack, tmp_path: Path, receiver: Receiver
) -> None:
    batch = await receiver.app.calls.create_batch()
    async with running_worker(project, tmp_path, webhook_allow_private=True):
        created = await receiver.app.create_without_upload(
            text_input="Ship it on Monday.", batch_id=batch.id, metadata={"course": "Zoë"}
        )
        await receiver.endpoint.received(2)
    payloads = {payload["type"]: payload for payload in map(receiver.verified, receiver.endpoint.requests)}
    assert payloads.keys() == {"smelt.completed", "batch.completed"}
    data = payloads["smelt.completed"]["data"]
    assert (data["id"], data["status"], data["outcome"]) == (str(created.id), "completed", "complete")
    assert (data["batch_id"], data["metadata"]) == (str(batch.id), {"course": "Zoë"})
    assert payloads["batch.completed"]["data"]["id"] == str(batch.id)
    ids = {request.headers["webhook-id"] for request in receiver.endpoint.requests}
    assert {str(delivery.id) for delivery in await receiver.deliveries()} == ids


async def test_webhook_of_the_project_gets_smelts_of_users_and_visitors(project: Stack, receiver: Receiver) -> None:
    async with (
        Project(project.api_url, project.service_role_key) as service,
        running_endpoint() as endpoint,
        receiving(AppClient(service), endpoint, "smelt.failed") as operator,
    ):
        smelt_id = await receiver.end_smelt()
        async with Project(project.api_url, project.anon_key) as visitor:
            created = await AppClient(visitor).create_without_upload(text_input="notes", submit=False)
            await AppClient(visitor).calls.cancel_smelt(created.id)
        await send_due(project)
        payloads = [operator.verified(request) for request in endpoint.requests]
    ended = {payload["data"]["id"]: payload["data"]["user_id"] for payload in payloads}
    assert ended[str(created.id)] is None
    assert ended[str(smelt_id)] is not None
    assert {receiver.verified(request)["data"]["id"] for request in receiver.endpoint.requests} == {str(smelt_id)}


async def test_webhook_is_retried_with_the_same_id_until_it_is_accepted(project: Stack, receiver: Receiver) -> None:
    await receiver.end_smelt()
    for code in (500, 302, 404):
        receiver.endpoint.respond = status(code)
        await send_due(project)
        [delivery] = await receiver.deliveries()
        assert (delivery.status, delivery.status_code) == ("pending", code)
        assert delivery.next_at is not None
        assert delivery.attempted_at is not None
        assert delivery.next_at > delivery.attempted_at
        make_due(project, receiver)
    receiver.endpoint.respond = status(200)
    await send_due(project)
    [delivery] = await receiver.deliveries()
    assert (delivery.status, delivery.status_code, delivery.attempt) == ("delivered", 200, 4)
    assert {request.headers["webhook-id"] for request in receiver.endpoint.requests} == {str(delivery.id)}
    assert len({receiver.verified(request)["timestamp"] for request in receiver.endpoint.requests}) == 1


async def test_webhook_is_disabled_after_a_day_of_failures_and_its_owner_notified(
    project: Stack, receiver: Receiver
) -> None:
    receiver.endpoint.respond = status(503)
    await receiver.end_smelt()
    for _ in range(11):
        await send_due(project)
        make_due(project, receiver)
    [delivery] = await receiver.deliveries()
    assert (delivery.status, delivery.attempt) == ("failed", 11)
    [webhook] = await receiver.calls.list(10)
    assert (webhook.enabled, webhook.disabled_reason) == (False, "failing")
    [notification, *_] = await receiver.app.calls.list_notifications(10)
    assert (notification.type, notification.smelt_id) == ("webhook_disabled", None)
    await receiver.end_smelt()
    await send_due(project)
    assert len(receiver.endpoint.requests) == 11


async def test_webhook_of_a_killed_worker_is_sent_again_by_another(
    project: Stack, tmp_path: Path, receiver: Receiver
) -> None:
    receiver.endpoint.respond = hang
    worker = WorkerProcess(project, tmp_path, SMELT_WEBHOOK_ALLOW_PRIVATE="true")
    try:
        await receiver.end_smelt()
        await receiver.endpoint.received(1)
        worker.end(signal.SIGKILL)
        assert await worker.exit_code() == -signal.SIGKILL
    finally:
        worker.close()
    receiver.endpoint.respond = status(200)
    await send_due(project)
    assert len(receiver.endpoint.requests) == 1, "it is still leased"
    change_deliveries(project, receiver, "leased_until = now()")
    await send_due(project)
    first, second = receiver.endpoint.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    [delivery] = await receiver.deliveries()
    assert (delivery.status, delivery.attempt) == ("delivered", 2)


async def test_webhooks_are_each_sent_once_by_several_workers(project: Stack, receiver: Receiver) -> None:
    for _ in range(12):
        await receiver.end_smelt()
    async with (
        sending(project, "one") as one,
        sending(project, "two") as two,
        receiving(receiver.app, receiver.endpoint),
    ):
        for _ in range(4):
            await receiver.end_smelt()
        sent = await asyncio.gather(one.send_due(), two.send_due(), return_exceptions=True)
        # A worker that finds each webhook in use ends early; what is due later is sent by the next one.
        await one.send_due()
    assert sent == [None, None]
    ids = [request.headers["webhook-id"] for request in receiver.endpoint.requests]
    assert (len(ids), len(set(ids))) == (20, 20)


async def test_broadcasts_are_not_held_up_by_four_hanging_endpoints(
    project: Stack, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Sender.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(Sender.__init__.__kwdefaults__, "timeout_s", 300)
    receiver.endpoint.respond = hang
    async with AsyncExitStack() as webhooks:
        for _ in range(3):
            await webhooks.enter_async_context(receiving(receiver.app, receiver.endpoint))
        async with running_worker(project, tmp_path, webhook_allow_private=True):
            await receiver.end_smelt()
            await receiver.endpoint.received(4)
            created = await receiver.app.create_without_upload(text_input="Ship it on Monday.", submit=False)
            async with receiver.app.watching(created.id) as watched:
                await receiver.app.calls.submit_smelt(created.id)
                await until(lambda: watched.ends)
            assert [name for name, _ in watched.ends] == ["completed"]
            assert len(receiver.endpoint.requests) == 4, "all places are taken"


async def test_worker_that_stops_leaves_a_delivery_to_the_next_one(
    project: Stack, tmp_path: Path, receiver: Receiver
) -> None:
    receiver.endpoint.respond = hang
    async with running_worker(project, tmp_path, webhook_allow_private=True):
        await receiver.end_smelt()
        await receiver.endpoint.received(1)
    [delivery] = await receiver.deliveries()
    assert (delivery.status, delivery.attempt, delivery.error) == ("pending", 1, None)
    receiver.endpoint.respond = status(200)
    change_deliveries(project, receiver, "leased_until = now()")
    await send_due(project)
    [delivery] = await receiver.deliveries()
    assert delivery.status == "delivered"


async def test_http_endpoint_is_rejected_unless_the_worker_allows_it(project: Stack, receiver: Receiver) -> None:
    await receiver.end_smelt()
    async with Project(project.api_url, project.service_role_key) as service:
        sender = Sender()
        await Deliveries(service, "strict", Metrics(), sender).send_due()
        await sender.aclose()
    [delivery] = await receiver.deliveries()
    assert (delivery.status, delivery.error) == ("pending", "http_not_allowed")
    assert receiver.endpoint.connection_count == 0

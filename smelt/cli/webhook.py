"""`smelt webhook`: signed requests to your own endpoint when smelts and batches end."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID

import typer
from rich.text import Text

from smelt.cli.connection import open_as_user_or_service
from smelt.cli.output import ERR, OUT, Exit, print_json, run
from smelt.errors import Unavailable

if TYPE_CHECKING:
    from smelt.backend.webhook_rpc import WebhookRpc
    from smelt.contract.webhooks import Delivery, Webhook, WebhookWithSecret

app = typer.Typer(
    help="Webhooks: signed requests when smelts and batches end. Without a login, but with the service key, those of "
    "the project, which get the events of all smelts.",
    no_args_is_help=True,
)

# A worker looks for deliveries every 5 s, and an attempt takes up to 10 s.
_TEST_TIMEOUT_S: Final = 60.0
_POLL_INTERVAL_S: Final = 0.5
_MAX_LISTED: Final = 500

WebhookId = Annotated[UUID, typer.Argument(metavar="ID", help="The id of the webhook.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]


class EventName(StrEnum):
    """The events that a webhook may subscribe to."""

    SMELT_COMPLETED = "smelt.completed"
    SMELT_FAILED = "smelt.failed"
    BATCH_COMPLETED = "batch.completed"


@app.command()
def create(
    url: Annotated[str, typer.Argument(metavar="URL", help="The endpoint, which begins with https://.")],
    events: Annotated[
        list[EventName] | None, typer.Option("--event", help="An event; repeat it for several. Default: all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a webhook and print its secret.

    The secret is not shown again.
    """
    run(_create(url, events, as_json), as_json=as_json)


@app.command(name="list")
def list_webhooks(as_json: AsJson = False) -> None:
    """List webhooks, newest first."""
    run(_list(as_json), as_json=as_json)


@app.command(name="test")
def send_test(webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Send a test, wait for the response, and print it.

    A worker has to be running.
    """
    run(_test(webhook_id, as_json), as_json=as_json)


@app.command()
def deliveries(
    webhook_id: WebhookId,
    count: Annotated[int, typer.Option("--count", "-n", help="The maximum number.", min=1, max=_MAX_LISTED)] = 20,
    as_json: AsJson = False,
) -> None:
    """List the deliveries of the last week, newest first.

    Each is printed with its last attempt.
    """
    run(_deliveries(webhook_id, count, as_json), as_json=as_json)


@app.command()
def enable(webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Enable a webhook that was disabled.

    Events of the meantime are not sent.
    """
    run(_set_enabled(webhook_id, True, as_json), as_json=as_json)


@app.command()
def disable(webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Disable a webhook; its pending deliveries end."""
    run(_set_enabled(webhook_id, False, as_json), as_json=as_json)


@app.command()
def rotate(
    webhook_id: WebhookId,
    overlap_h: Annotated[
        float, typer.Option("--overlap", help="Hours in which the old secret signs as well.", min=0, max=168)
    ] = 24,
    as_json: AsJson = False,
) -> None:
    """Replace the secret and print the new one.

    It is not shown again.
    """
    run(_rotate(webhook_id, overlap_h, as_json), as_json=as_json)


@app.command()
def delete(webhook_id: WebhookId, as_json: AsJson = False) -> None:
    """Delete a webhook with its deliveries."""
    run(_delete(webhook_id, as_json), as_json=as_json)


@asynccontextmanager
async def _calls() -> "AsyncIterator[WebhookRpc]":
    from smelt.backend.webhook_rpc import WebhookRpc
    from smelt.settings import ProjectSettings

    async with open_as_user_or_service(ProjectSettings.read(), "webhooks") as project:
        yield WebhookRpc(project.rpc)


async def _create(url: str, events: list[EventName] | None, as_json: bool) -> Exit:
    async with _calls() as calls:
        webhook = await calls.create(url, [event.value for event in events] if events else None)
    _print_secret(webhook, as_json)
    if webhook.url.lower().startswith("http:") and not as_json:
        ERR.print("Only workers with SMELT_WEBHOOK_ALLOW_PRIVATE=true send over http.")
    return Exit.DONE


async def _rotate(webhook_id: UUID, overlap_h: float, as_json: bool) -> Exit:
    async with _calls() as calls:
        _print_secret(await calls.rotate_secret(webhook_id, overlap_h), as_json)
    return Exit.DONE


def _print_secret(webhook: "WebhookWithSecret", as_json: bool) -> None:
    if as_json:
        print_json({"event": "webhook", **webhook.model_dump(mode="json")})
    else:
        OUT.print(Text(f"{webhook.id}  {webhook.url}  {', '.join(webhook.events)}"), soft_wrap=True)
        OUT.print(Text(f"secret: {webhook.secret}"), soft_wrap=True)
        ERR.print("Store the secret now: it is not shown again.")


async def _list(as_json: bool) -> Exit:
    async with _calls() as calls:
        webhooks = await calls.list(_MAX_LISTED)
    for webhook in webhooks:
        if as_json:
            print_json({"event": "webhook", **webhook.model_dump(mode="json")})
        else:
            OUT.print(Text(_webhook_line(webhook)), soft_wrap=True)
    if not webhooks and not as_json:
        OUT.print("No webhooks yet. Create one with: smelt webhook create URL")
    return Exit.DONE


def _webhook_line(webhook: "Webhook") -> str:
    state = "enabled" if webhook.enabled else f"disabled ({webhook.disabled_reason})"
    owner = "project" if webhook.user_id is None else f"user {webhook.user_id}"
    return f"{webhook.id}  {state}  {owner}  {webhook.url}  {', '.join(webhook.events)}"


async def _set_enabled(webhook_id: UUID, enabled: bool, as_json: bool) -> Exit:
    async with _calls() as calls:
        webhook = await calls.update(webhook_id, enabled=enabled)
    if as_json:
        print_json({"event": "webhook", **webhook.model_dump(mode="json")})
    else:
        OUT.print(Text(_webhook_line(webhook)), soft_wrap=True)
    return Exit.DONE


async def _delete(webhook_id: UUID, as_json: bool) -> Exit:
    async with _calls() as calls:
        await calls.delete(webhook_id)
    if as_json:
        print_json({"event": "deleted", "id": webhook_id})
    else:
        OUT.print(f"{webhook_id} is deleted")
    return Exit.DONE


async def _test(webhook_id: UUID, as_json: bool) -> Exit:
    async with _calls() as calls:
        requested = await calls.test(webhook_id)
        if not requested.worker_online:
            raise Unavailable("no worker is running: start one with `smelt worker`, which then sends the test")
        delivery = await _ended(calls, webhook_id, requested.delivery_id)
    _print_delivery(delivery, as_json)
    if delivery.status == "pending":
        ERR.print(f"No worker has sent the test within {_TEST_TIMEOUT_S:.0f} s.")
    return Exit.DONE if delivery.status == "delivered" else Exit.FAILED


async def _ended(calls: "WebhookRpc", webhook_id: UUID, delivery_id: UUID) -> "Delivery":
    """Return a delivery once it has ended, or as it is after the timeout."""
    timeout_at_s = time.monotonic() + _TEST_TIMEOUT_S
    while True:
        [delivery] = await calls.deliveries(webhook_id, delivery_id=delivery_id)
        if delivery.status != "pending" or time.monotonic() >= timeout_at_s:
            return delivery
        await asyncio.sleep(_POLL_INTERVAL_S)


async def _deliveries(webhook_id: UUID, count: int, as_json: bool) -> Exit:
    async with _calls() as calls:
        listed = await calls.deliveries(webhook_id, count)
    for delivery in listed:
        _print_delivery(delivery, as_json)
    if not listed and not as_json:
        OUT.print("No deliveries within the last week.")
    return Exit.DONE


def _print_delivery(delivery: "Delivery", as_json: bool) -> None:
    if as_json:
        print_json({"event": "delivery", "delivery": delivery.model_dump(mode="json")})
    else:
        OUT.print(Text(_delivery_line(delivery)), soft_wrap=True)


def _delivery_line(delivery: "Delivery") -> str:
    response = delivery.error or ("" if delivery.status_code is None else f"HTTP {delivery.status_code}")
    attempts = f"{delivery.attempt} attempt{'' if delivery.attempt == 1 else 's'}"
    duration = "" if delivery.duration_ms is None else f"{delivery.duration_ms} ms"
    following = "" if delivery.next_at is None else f"next at {delivery.next_at.astimezone():%Y-%m-%d %H:%M:%S}"
    facts = (delivery.event, delivery.status, response, attempts, duration, following)
    return "  ".join((f"{delivery.created_at.astimezone():%Y-%m-%d %H:%M:%S}", str(delivery.id), *filter(None, facts)))

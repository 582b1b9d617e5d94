"""The database and `smelt.contract.webhooks` agree on values and on the keys of every response."""

import json
import re
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from smelt.contract import webhooks
from tests.harness.documents import code_for
from tests.integration.database.db_calls import Caller, Database, claimed, results_for, submitted


def parsed_exactly(model: type[BaseModel], response: dict[str, Any]) -> Any:
    """Parse a response that has exactly the keys of its model."""
    assert response.keys() == set(model.model_fields)
    return model.model_validate(response)


def test_webhook_readme_body_has_the_keys_of_the_contract() -> None:
    [printed] = code_for("test_webhook_readme_body_has_the_keys_of_the_contract")
    body = json.loads(printed)
    parsed_exactly(webhooks.SmeltWebhook, body)
    parsed_exactly(webhooks.EndedSmelt, body["data"])


@pytest.mark.parametrize(
    ("constraint", "literal"),
    [
        ("smelt_webhooks_events_known", webhooks.WebhookEvent),
        ("smelt_webhooks_disabled_reason_known", webhooks.DisabledReason),
        ("webhook_deliveries_status_known", webhooks.DeliveryStatus),
    ],
)
def test_webhook_constraints_accept_exactly_the_values_of_the_contract(
    template_database: Database, constraint: str, literal: Any
) -> None:
    check = template_database.value(
        "select pg_get_constraintdef(oid) from pg_constraint where conname = %s", constraint
    )
    assert tuple(re.findall(r"'([\w.]+)'::text", check)) == get_args(literal)


def test_webhook_contract_holds_for_every_response(database: Database, client: Caller, worker: Caller) -> None:
    created = client("create_smelt_webhook", url="https://hook.example/")
    webhook = parsed_exactly(webhooks.WebhookWithSecret, created)
    assert (webhook.events, webhook.enabled) == (get_args(webhooks.WebhookEvent), True)
    parsed_exactly(webhooks.WebhookWithSecret, client("rotate_smelt_webhook_secret", webhook_id=created["id"]))
    parsed_exactly(webhooks.Webhook, client("update_smelt_webhook", webhook_id=created["id"], enabled=True))
    parsed_exactly(webhooks.RequestedTest, client("test_smelt_webhook", webhook_id=created["id"]))

    batch_id = client("create_smelt_batch")["id"]
    submitted(database, client, batch_id=batch_id, metadata={"course": 17})
    claim = claimed(worker)
    worker("complete_smelt", smelt_id=claim["id"], attempt=claim["attempt"], results=results_for(claim))
    client("cancel_smelt", smelt_id=submitted(database, client)["id"])
    bodies: dict[str, Any] = {}
    while deliveries := worker("claim_smelt_webhook_deliveries", worker_id="w"):
        [delivery] = deliveries
        leased = parsed_exactly(webhooks.ClaimedDelivery, delivery)
        bodies[leased.event] = json.loads(leased.body)
        settled = worker(
            "settle_smelt_webhook_delivery", delivery_id=delivery["id"], attempt=leased.attempt, status_code=200
        )
        assert parsed_exactly(webhooks.SettledDelivery, settled).status == "delivered"
    assert bodies.keys() == {*get_args(webhooks.WebhookEvent), "webhook.test"}
    for event in ("smelt.completed", "smelt.failed"):
        smelt = parsed_exactly(webhooks.SmeltWebhook, bodies[event])
        parsed_exactly(webhooks.EndedSmelt, bodies[event]["data"])
    assert (smelt.data.error_code, smelt.data.metadata) == ("cancelled", {})
    batch = parsed_exactly(webhooks.BatchWebhook, bodies["batch.completed"])
    parsed_exactly(webhooks.EndedBatch, bodies["batch.completed"]["data"])
    assert (str(batch.data.id), batch.data.completed) == (batch_id, 1)
    parsed_exactly(webhooks.WebhookTest, bodies["webhook.test"])
    listed = client("get_smelt_webhook_deliveries", webhook_id=created["id"])
    assert [parsed_exactly(webhooks.Delivery, delivery).status for delivery in listed] == ["delivered"] * 4

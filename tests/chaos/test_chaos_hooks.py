"""The webhooks of a chaos run: each request counts once, and only with a valid signature."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from standardwebhooks import Webhook

from smelt.contract.webhooks import WebhookWithSecret
from tests.chaos.hooks import Hook
from tests.harness.webhook_endpoints import Endpoint, ReceivedRequest, status

SECRET = "whsec_" + "c21lbHRzbWVsdHNtZWx0c21lbHQ="
SMELT = UUID(int=1)


def hook(*requests: ReceivedRequest) -> Hook:
    webhook = WebhookWithSecret.model_construct(secret=SECRET)
    return Hook(webhook, Endpoint(status(200), requests=list(requests)), None)


def request(message_id: str, sent_at: datetime, run: int = 1) -> ReceivedRequest:
    body = json.dumps({"data": {"id": str(SMELT), "run": run}})
    headers = {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(sent_at.timestamp())),
        "webhook-signature": Webhook(SECRET).sign(message_id, sent_at, body),
    }
    return ReceivedRequest("/hook", headers, body.encode())


def test_webhook_ends_count_a_repeated_request_once_and_old_requests_too() -> None:
    sent_at = datetime.now(UTC) - timedelta(hours=1)
    ends = hook(request("a", sent_at), request("a", sent_at), request("b", sent_at, run=2)).ends()
    assert ends == {(SMELT, 1): 1, (SMELT, 2): 1}


def test_webhook_ends_reject_a_signature_of_another_body() -> None:
    signed = request("a", datetime.now(UTC))
    with pytest.raises(AssertionError):
        hook(ReceivedRequest(signed.target, signed.headers, signed.body + b" ")).ends()

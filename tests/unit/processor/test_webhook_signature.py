"""Requests of webhooks are accepted by the official package of Standard Webhooks."""

import json
import time
from base64 import b64encode
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from smelt.contract.webhooks import ClaimedDelivery
from smelt.processor.webhooks.sender import headers_of, signature

SECRETS = st.binary(min_size=24, max_size=64).map(lambda key: f"whsec_{b64encode(key).decode()}")


def delivery(body: str, *secrets: str) -> ClaimedDelivery:
    return ClaimedDelivery(
        id=uuid4(),
        webhook_id=uuid4(),
        event="smelt.completed",
        attempt=1,
        url="https://hook.example/",
        body=body,
        sent_at=int(time.time()),
        secrets=secrets,
    )


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.floats(allow_nan=False)), SECRETS)
def test_signature_is_accepted_by_the_official_package(payload: dict[str, object], secret: str) -> None:
    body = json.dumps(payload, ensure_ascii=False).encode("utf-8", "replace").decode()
    headers = {str(name): str(value) for name, value in headers_of(delivery(body, secret)).items()}
    assert Webhook(secret).verify(body.encode(), headers) == json.loads(body)


def test_signature_matches_the_example_of_the_specification() -> None:
    """The example in the specification's libraries."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    signed = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, '{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_signature_is_made_with_each_secret() -> None:
    old, new, other = (f"whsec_{b64encode(letter * 32).decode()}" for letter in (b"a", b"b", b"c"))
    sent = delivery("{}", new, old)
    headers = {str(name): str(value) for name, value in headers_of(sent).items()}
    for secret in (old, new):
        assert Webhook(secret).verify("{}", headers) == {}
    for body, secret in (("{}", other), ("[]", new)):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, headers)

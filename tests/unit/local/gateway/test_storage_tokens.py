"""Tokens of callers and of signed URLs."""

import base64
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.local.keys import Keys
from smelt.local.storage import tokens
from smelt.local.storage.errors import StorageError
from smelt.local.storage.tokens import SERVICE, InvalidStorageToken, StorageCaller

KEYS = Keys()
CALLER = StorageCaller(role="authenticated", subject="11111111-1111-4111-8111-111111111111", claims="{}")


def test_download_token_is_valid_for_its_object_only() -> None:
    """Another path and another scope are rejected."""
    token = tokens.sign_download_url(KEYS, "b", "a.webm", 60)
    assert tokens.read_url_token(token, KEYS, "download", "b/a.webm")["url"] == "b/a.webm"
    with pytest.raises(StorageError, match="Invalid signature"):
        tokens.read_url_token(token, KEYS, "download", "b/c.webm")
    with pytest.raises(StorageError, match="Token is not scoped for upload"):
        tokens.read_url_token(token, KEYS, "upload", "b/a.webm")


def test_upload_token_carries_its_signer() -> None:
    """The service key has no subject, so the token has no owner."""
    claims = tokens.read_url_token(tokens.sign_upload_url(KEYS, CALLER, "b", "a", upsert=True), KEYS, "upload", "b/a")
    assert claims["owner"] == CALLER.subject
    assert claims["upsert"] is True
    assert claims["exp"] - claims["iat"] == 7200
    unowned = tokens.read_url_token(
        tokens.sign_upload_url(KEYS, SERVICE, "b", "a", upsert=False), KEYS, "upload", "b/a"
    )
    assert "owner" not in unowned


def test_user_token_is_not_accepted_as_a_signed_url() -> None:
    """This applies to downloads and uploads."""
    token = KEYS.sign({"role": "authenticated", "sub": CALLER.subject, "exp": time.time() + 60})
    with pytest.raises(StorageError, match="Invalid signature"):
        tokens.read_url_token(token, KEYS, "download", "b/a")
    with pytest.raises(StorageError, match="Token is not scoped for upload"):
        tokens.read_url_token(token, KEYS, "upload", "b/a")


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("abc", "Invalid Compact JWS"),
        ("", "Invalid Compact JWS"),
        ("not.a.jwt", "JWS Protected Header is invalid"),
        (Keys(jwt_secret="x" * 40).sign({"role": "anon"}), "signature verification failed"),
        (KEYS.sign({"exp": 1}), '"exp" claim timestamp check failed'),
        (KEYS.sign({"nbf": time.time() + 1_000_000}), '"nbf" claim timestamp check failed'),
    ],
)
def test_token_error_messages_match_the_platform(token: str, reason: str) -> None:
    """Clients display these messages."""
    with pytest.raises(InvalidStorageToken) as error:
        tokens.read_token(token, KEYS)
    assert str(error.value) == reason


def test_token_without_a_signature_is_rejected() -> None:
    """`alg: none` must not be accepted."""
    header, claims = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"alg": "none"}, {"role": "service_role"})
    )
    with pytest.raises(InvalidStorageToken, match="Header Parameter value not allowed"):
        tokens.read_token(f"{header}.{claims}.", KEYS)


@given(st.text())
def test_token_of_any_text_is_rejected(text: str) -> None:
    """Fuzzed tokens cause no unexpected error."""
    with pytest.raises(InvalidStorageToken):
        tokens.read_token(text, KEYS)


def test_owner_is_set_only_for_a_uuid_subject() -> None:
    """Other subjects are only in `owner_id`."""
    assert str(CALLER.owner) == CALLER.subject
    assert StorageCaller(role="x", subject="service-7", claims="{}").owner is None

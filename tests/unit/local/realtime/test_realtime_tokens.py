"""Validation of tokens, with the platform's error messages."""

import pytest

from smelt.local.keys import Keys
from smelt.local.realtime.tokens import InvalidRealtimeToken, check_token, lifetime_s

KEYS = Keys()
NOW = 1_000_000.25


def rejection(text: str) -> InvalidRealtimeToken:
    with pytest.raises(InvalidRealtimeToken) as caught:
        check_token(KEYS, text, NOW)
    return caught.value


def test_token_yields_role_subject_and_expiry() -> None:
    text = KEYS.sign({"role": "authenticated", "exp": 1_000_010, "sub": "u", "aud": "x"})
    token = check_token(KEYS, text, NOW)
    assert (token.role, token.subject, token.expires_at) == ("authenticated", "u", 1_000_010)
    assert lifetime_s(token, NOW) == 10


@pytest.mark.parametrize("text", ["", "garbage", "a.b.c", "sb_publishable_x"])
def test_token_that_is_not_a_jwt_is_malformed(text: str) -> None:
    error = rejection(text)
    assert error.on_join == "MalformedJWT: The token provided is not a valid JWT"
    assert error.on_connect == error.on_refresh == "The token provided is not a valid JWT"


def test_token_with_a_foreign_signature_is_rejected() -> None:
    error = rejection(
        Keys(jwt_secret="another secret, which is long enough to be one").sign({"role": "anon", "exp": 2**33})
    )
    assert error.on_join == "JwtSignatureError: Failed to validate JWT signature"
    assert error.on_connect == "Failed to validate JWT signature"
    assert error.on_refresh == ":signature_error"


@pytest.mark.parametrize(
    "claims",
    [
        {"role": "anon"},
        {"exp": 2**33},
        {"role": 5, "exp": 2**33},
        {"role": "a", "exp": "x"},
        {"role": "a", "exp": True},
    ],
)
def test_token_requires_role_and_expiry(claims: dict[str, object]) -> None:
    assert rejection(KEYS.sign(claims)).on_join == "InvalidJWTToken: Fields `role` and `exp` are required in JWT"


def test_token_that_expired_is_rejected_with_its_age() -> None:
    error = rejection(KEYS.sign({"role": "anon", "exp": 999_960}))
    assert error.on_join == "InvalidJWTToken: Token has expired 40 seconds ago"
    assert error.on_refresh == "Token has expired 40 seconds ago"
    assert error.on_connect == "Token has expired"

"""Tokens are renewed before they expire, and requested no more often than needed."""

import asyncio
import base64
import json
import time
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.backend.tokens import MIN_RENEW_INTERVAL_S, TokenSource, expires_at, is_jwt, renew_in_s, user_id
from smelt.errors import NotFound, Unauthorized, Unavailable


def token(exp: object = None, name: str = "x") -> str:
    body = base64.urlsafe_b64encode(json.dumps({"name": name, **({} if exp is None else {"exp": exp})}).encode())
    return f"e30.{body.decode().rstrip('=')}.c2ln"


@pytest.mark.parametrize("key", ["sb_publishable_abc", "sb_secret_a.b.c", "plain"])
async def test_opaque_key_is_not_sent_as_a_bearer_token(key: str) -> None:
    assert not is_jwt(key)
    assert await TokenSource(key).current() is None
    assert await TokenSource(key, "user").current() == "user"


async def test_jwt_key_is_its_own_bearer_token() -> None:
    key = token(2e9)
    assert await TokenSource(key).current() == key
    assert await TokenSource(key).renewed(key) == key
    assert not TokenSource(key).renewable
    assert TokenSource(key).renew_due_in_s() is None


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "e30.e30.c2ln", "e30.W10.x", token("soon")])
def test_token_with_an_unreadable_expiry_has_none(text: str) -> None:
    assert expires_at(text) is None


@given(st.floats(0, 2e9), st.floats(0, 2e9))
def test_token_renewal_is_due_before_expiry_but_rate_limited(exp: float, now: float) -> None:
    wait_s = renew_in_s(token(exp), now)
    assert wait_s >= MIN_RENEW_INTERVAL_S
    if exp - now > 2 * MIN_RENEW_INTERVAL_S:
        assert wait_s < exp - now


def test_token_without_expiry_is_renewed_every_hour_or_sooner() -> None:
    assert 60 <= renew_in_s("opaque", 0) <= 3600


async def test_token_is_requested_once_while_it_is_valid() -> None:
    requests: list[int] = []

    async def renew() -> str:
        requests.append(1)
        return token(time.time() + 3600)

    source = TokenSource("sb_publishable_abc", renew)
    assert source.renewable
    assert await source.current() == await source.current()
    assert len(requests) == 1
    assert 3000 < (source.renew_due_in_s() or 0) <= 3600


async def test_token_function_may_be_synchronous() -> None:
    assert await TokenSource("sb_publishable_abc", lambda: "fresh").current() == "fresh"


@pytest.mark.parametrize("nothing", ["", None])
async def test_token_that_is_empty_is_rejected(nothing: str | None) -> None:
    async def renew() -> Any:
        return nothing

    with pytest.raises(Unauthorized):
        await TokenSource("sb_publishable_abc", renew).current()
    with pytest.raises(ValueError, match="empty"):
        TokenSource("sb_publishable_abc", "")


async def test_token_renewal_is_shared_by_concurrent_callers() -> None:
    names = iter("abcdef")

    async def renew() -> str:
        return token(time.time() + 3600, next(names))

    source = TokenSource("sb_publishable_abc", renew)
    stale = await source.current()
    fresh = await asyncio.gather(*(source.renewed(stale) for _ in range(5)))
    assert set(fresh) == {await source.current()}
    assert stale not in fresh


@pytest.mark.parametrize(
    ("raised", "kind"),
    [(OSError("offline"), Unavailable), (PermissionError("signed out"), Unauthorized), (NotFound("x", "y"), NotFound)],
)
async def test_token_renewal_error_is_mapped_to_a_smelt_error(raised: Exception, kind: type[Exception]) -> None:
    async def renew() -> str:
        raise raised

    with pytest.raises(kind):
        await TokenSource("sb_publishable_abc", renew).current()


async def test_token_renewal_timeout_raises_unavailable() -> None:
    async def renew() -> str:
        await asyncio.Event().wait()
        return "never"

    with pytest.raises(Unavailable):
        await TokenSource("sb_publishable_abc", renew, timeout_s=0.01).current()


def test_token_subject_is_the_user_id() -> None:
    def token_with(claims: object) -> str:
        return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.c2ln"

    signed_in = "11111111-1111-1111-1111-111111111111"
    assert user_id(token_with({"sub": signed_in})) == UUID(signed_in)
    for claims in ({}, {"sub": "somebody"}, {"sub": None}, []):
        assert user_id(token_with(claims)) is None
    assert user_id("sb_publishable_x") is None
    assert user_id("a.b.c") is None

"""A token is fresh as long as its owner can renew it, and asked for no more often than needed."""

import asyncio
import base64
import json
import time
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.backend.tokens import RENEW_AT_MOST_EVERY_S, TokenSource, expires_at, is_jwt, renew_in_s, user_id
from smelt.errors import NotFound, Unauthorized, Unavailable


def token(exp: object = None, name: str = "x") -> str:
    body = base64.urlsafe_b64encode(json.dumps({"name": name, **({} if exp is None else {"exp": exp})}).encode())
    return f"e30.{body.decode().rstrip('=')}.c2ln"


@pytest.mark.parametrize("key", ["sb_publishable_abc", "sb_secret_a.b.c", "plain"])
async def test_an_opaque_key_is_no_bearer_token(key: str) -> None:
    assert not is_jwt(key)
    assert await TokenSource(key).current() is None
    assert await TokenSource(key, "user").current() == "user"


async def test_a_jwt_key_is_its_own_bearer_token() -> None:
    key = token(2e9)
    assert await TokenSource(key).current() == key
    assert await TokenSource(key).renewed(key) == key
    assert not TokenSource(key).renewable
    assert TokenSource(key).renew_due_in_s() is None


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "e30.e30.c2ln", "e30.W10.x", token("soon")])
def test_an_expiry_that_can_not_be_read_is_none(text: str) -> None:
    assert expires_at(text) is None


@given(st.floats(0, 2e9), st.floats(0, 2e9))
def test_a_token_is_renewed_before_it_expires_but_not_all_the_time(exp: float, now: float) -> None:
    wait_s = renew_in_s(token(exp), now)
    assert wait_s >= RENEW_AT_MOST_EVERY_S
    if exp - now > 2 * RENEW_AT_MOST_EVERY_S:
        assert wait_s < exp - now


def test_a_token_without_expiry_is_asked_for_now_and_then() -> None:
    assert 60 <= renew_in_s("opaque", 0) <= 3600


async def test_a_fresh_token_is_asked_for_once_while_it_lasts() -> None:
    asked: list[int] = []

    async def renew() -> str:
        asked.append(1)
        return token(time.time() + 3600)

    source = TokenSource("sb_publishable_abc", renew)
    assert source.renewable
    assert await source.current() == await source.current()
    assert len(asked) == 1
    assert 3000 < (source.renew_due_in_s() or 0) <= 3600


async def test_a_plain_function_may_answer_it_as_well() -> None:
    assert await TokenSource("sb_publishable_abc", lambda: "fresh").current() == "fresh"


@pytest.mark.parametrize("nothing", ["", None])
async def test_no_token_is_never_sent(nothing: str | None) -> None:
    async def renew() -> Any:
        return nothing

    with pytest.raises(Unauthorized):
        await TokenSource("sb_publishable_abc", renew).current()
    with pytest.raises(ValueError, match="empty"):
        TokenSource("sb_publishable_abc", "")


async def test_callers_that_found_the_same_token_stale_share_the_next_one() -> None:
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
async def test_what_goes_wrong_in_renewing_is_told_in_smelt_s_words(raised: Exception, kind: type[Exception]) -> None:
    async def renew() -> str:
        raise raised

    with pytest.raises(kind):
        await TokenSource("sb_publishable_abc", renew).current()


async def test_who_never_answers_with_a_fresh_token_does_not_hold_up_everything() -> None:
    async def renew() -> str:
        await asyncio.Event().wait()
        return "never"

    with pytest.raises(Unavailable):
        await TokenSource("sb_publishable_abc", renew, within_s=0.01).current()


def test_a_token_tells_for_whom_it_speaks() -> None:
    def speaking_for(claims: object) -> str:
        return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.c2ln"

    signed_in = "11111111-1111-1111-1111-111111111111"
    assert user_id(speaking_for({"sub": signed_in})) == UUID(signed_in)
    for nobody in ({}, {"sub": "somebody"}, {"sub": None}, []):
        assert user_id(speaking_for(nobody)) is None
    assert user_id("sb_publishable_x") is None
    assert user_id("a.b.c") is None

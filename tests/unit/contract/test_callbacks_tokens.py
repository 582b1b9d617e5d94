"""Tokens of callbacks: for one attempt, of one purpose, and never accepted after a change."""

from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from smelt.contract.dispatch import CallbackToken, CallbackTokens
from smelt.gateway.tokens import ReadTokens

NEW, OLD = "a new signing key of 32 characters", "an old signing key of 32 characters"


@given(smelt_id=st.uuids(), attempt=st.integers(1, 2**62), lease_s=st.integers(0, 3600), now=st.floats(0, 2**40))
def test_callback_token_is_verified_by_each_key_that_signs(
    smelt_id: UUID, attempt: int, lease_s: int, now: float
) -> None:
    token, content = CallbackTokens([OLD]).issue(smelt_id, attempt, lease_s, now)
    assert content == CallbackToken(smelt_id, attempt, lease_s, int(now) + lease_s)
    assert CallbackTokens([NEW, OLD]).verify(token) == content
    assert CallbackTokens([NEW]).verify(token) is None


@given(data=st.data())
def test_callback_token_with_any_change_is_rejected(data: st.DataObject) -> None:
    token, _ = CallbackTokens([NEW]).issue(uuid4(), 3, 120, 1_000_000)
    place = data.draw(st.integers(0, len(token) - 1))
    changed = token[:place] + data.draw(st.characters().filter(lambda c: c != token[place])) + token[place + 1 :]
    assert CallbackTokens([NEW]).verify(changed) is None


@given(text=st.text())
def test_callback_token_of_any_text_is_rejected(text: str) -> None:
    assert CallbackTokens([NEW]).verify(text) is None


def test_callback_token_and_read_only_token_do_not_replace_each_other() -> None:
    smelt_id = uuid4()
    assert CallbackTokens([NEW]).verify(ReadTokens([NEW]).issue(smelt_id, 0)[0]) is None
    assert ReadTokens([NEW]).verify(CallbackTokens([NEW]).issue(smelt_id, 1, 120, 0)[0]) is None

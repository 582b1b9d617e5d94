"""Read-only tokens: signed by the first key, verified by any, and never accepted after a change."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smelt.gateway.tokens import LIFETIME_S, ReadToken, ReadTokens

NEW, OLD = "a new signing key of 32 characters", "an old signing key of 32 characters"


@given(smelt_id=st.uuids(), now=st.floats(0, 2**40))
def test_read_token_is_verified_by_each_key_that_signs(smelt_id: UUID, now: float) -> None:
    token, content = ReadTokens([OLD]).issue(smelt_id, now)
    assert content == ReadToken(smelt_id, int(now) + LIFETIME_S)
    assert ReadTokens([NEW, OLD]).verify(token) == content
    assert ReadTokens([NEW]).verify(token) is None
    assert ReadTokens([NEW, OLD]).issue(smelt_id, now)[0] != token


@given(data=st.data())
def test_read_token_with_any_change_is_rejected(data: st.DataObject) -> None:
    tokens = ReadTokens([NEW])
    token, _ = tokens.issue(uuid4(), 1_000_000)
    place = data.draw(st.integers(0, len(token) - 1))
    changed = token[:place] + data.draw(st.characters().filter(lambda c: c != token[place])) + token[place + 1 :]
    assert tokens.verify(changed) is None


@given(text=st.text())
def test_read_token_of_any_text_is_rejected(text: str) -> None:
    assert ReadTokens([NEW]).verify(text) is None


@pytest.mark.parametrize("purpose", [b"callback", b""])
def test_read_token_of_another_purpose_is_rejected(purpose: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("smelt.gateway.tokens._PURPOSE", purpose)
        token, _ = ReadTokens([NEW]).issue(uuid4(), 0)
    assert ReadTokens([NEW]).verify(token) is None

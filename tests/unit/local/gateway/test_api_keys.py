"""The tokens that services get in place of API keys."""

from hypothesis import given
from hypothesis import strategies as st

from smelt.local.gateway.edge.api_keys import authorization_for
from smelt.local.keys import Keys

KEYS = Keys()


def test_api_key_without_authorization_supplies_its_own_token() -> None:
    """Without `Authorization`, the header has the token of the key."""
    assert authorization_for(None, KEYS.publishable_key, KEYS) == f"Bearer {KEYS.anon_key}"
    assert authorization_for(None, KEYS.secret_key, KEYS) == f"Bearer {KEYS.service_role_key}"
    assert authorization_for(None, KEYS.anon_key, KEYS) == f"Bearer {KEYS.anon_key}"


def test_api_key_in_the_authorization_header_is_replaced_by_its_token() -> None:
    """Clients also send their `sb_...` key in `Authorization`, which must be a JWT."""
    in_both = authorization_for(f"Bearer {KEYS.secret_key}", KEYS.secret_key, KEYS)
    assert in_both == f"Bearer {KEYS.service_role_key}"
    assert authorization_for(f"Bearer {KEYS.secret_key}", None, KEYS) == f"Bearer {KEYS.service_role_key}"
    # The `apikey` decides: an unknown key in the other header gives no rights.
    assert authorization_for("Bearer sb_secret_x", KEYS.publishable_key, KEYS) == f"Bearer {KEYS.anon_key}"


@given(st.text(min_size=1).filter(lambda text: not text.startswith("sb_")), st.sampled_from([None, KEYS.secret_key]))
def test_user_token_in_authorization_is_unchanged(token: str, key: str | None) -> None:
    """A user's token identifies the caller, with any key."""
    assert authorization_for(f"Bearer {token}", key, KEYS) is None


def test_authorization_is_absent_without_key_and_token() -> None:
    """Without key and token, no header is added."""
    assert authorization_for(None, None, KEYS) is None

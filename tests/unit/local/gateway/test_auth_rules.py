"""Sign-ups that the project's settings reject before any query."""

import httpx
import pytest
from psycopg_pool import AsyncConnectionPool

from smelt.local.auth import AuthStore, create_auth
from smelt.local.keys import Keys
from smelt.local.migrations import AuthRules

ADDRESS = {"email": "a@example.com"}


@pytest.mark.parametrize(
    ("rules", "body", "code"),
    [
        (AuthRules(allows_anonymous=False), {}, "anonymous_provider_disabled"),
        (AuthRules(allows_sign_up=False), {}, "signup_disabled"),
        (AuthRules(allows_sign_up=False), ADDRESS | {"password": "long enough"}, "signup_disabled"),
        (AuthRules(password_min_characters=12), ADDRESS | {"password": "long enough"}, "weak_password"),
    ],
)
async def test_sign_up_follows_the_auth_rules_of_the_project(rules: AuthRules, body: dict[str, str], code: str) -> None:
    store = AuthStore(AsyncConnectionPool("", open=False))
    transport = httpx.ASGITransport(create_auth(store, Keys(), issuer="http://x/auth/v1", rules=rules))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        response = await http.post("/signup", json=body)
        settings = (await http.get("/settings")).json()
    assert (response.status_code, response.json()["error_code"]) == (422, code)
    assert settings["external"]["anonymous_users"] is rules.allows_anonymous
    assert settings["disable_signup"] is not rules.allows_sign_up

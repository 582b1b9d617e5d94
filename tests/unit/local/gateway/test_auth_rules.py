"""Sign-ups that the project's settings reject before any query."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from psycopg_pool import AsyncConnectionPool

from smelt.local.auth import AuthStore, create_auth
from smelt.local.auth.mailed_links import allowed_redirect
from smelt.local.auth.passwords import check_password
from smelt.local.keys import Keys
from smelt.local.project import PASSWORD_CHARACTERS, AuthRules

ADDRESS = {"email": "a@example.com"}


LONG = ADDRESS | {"password": "long enough"}


@pytest.mark.parametrize(
    ("rules", "body", "status", "code"),
    [
        (AuthRules(), {}, 422, "anonymous_provider_disabled"),
        (AuthRules(allows_anonymous=True, allows_sign_up=False), {}, 422, "signup_disabled"),
        (AuthRules(allows_sign_up=False), LONG, 422, "signup_disabled"),
        (AuthRules(allows_email=False), LONG, 400, "email_provider_disabled"),
        (AuthRules(password_min_characters=12), LONG, 422, "weak_password"),
        (AuthRules(password_characters=("abc", "0123456789")), LONG, 422, "weak_password"),
    ],
)
async def test_sign_up_follows_the_auth_rules_of_the_project(
    rules: AuthRules, body: dict[str, str], status: int, code: str
) -> None:
    async with _client(rules) as http:
        response = await http.post("/signup", json=body)
        settings = (await http.get("/settings")).json()
    assert (response.status_code, response.json()["error_code"]) == (status, code)
    assert settings["external"]["anonymous_users"] is rules.allows_anonymous
    assert settings["external"]["email"] is rules.allows_email
    assert settings["disable_signup"] is not rules.allows_sign_up


async def test_sign_in_by_email_is_rejected_if_the_project_disables_it() -> None:
    async with _client(AuthRules(allows_email=False)) as http:
        response = await http.post("/token?grant_type=password", json=LONG)
    assert (response.status_code, response.json()["error_code"]) == (422, "email_provider_disabled")


async def test_password_error_names_each_reason() -> None:
    rules = AuthRules(password_min_characters=12, password_characters=PASSWORD_CHARACTERS["letters_digits"])
    async with _client(rules) as http:
        error = (await http.post("/signup", json=ADDRESS | {"password": "short"})).json()
    assert error["weak_password"] == {"reasons": ["length", "characters"]}
    assert error["msg"].startswith("Password should be at least 12 characters. Password should contain at least one ")


@pytest.mark.parametrize("requirements", list(PASSWORD_CHARACTERS))
def test_password_requirements_accept_a_password_with_all_characters(requirements: str) -> None:
    check_password("aB3;aB3;", AuthRules(password_characters=PASSWORD_CHARACTERS[requirements]))


@pytest.mark.parametrize(
    ("requested", "is_allowed"),
    [
        ("https://app.example/welcome?x=1", True),
        ("https://preview-1.example.com/a", True),
        ("https://preview-1.evil.com/a", False),
        ("https://other.example/in/any/depth", True),
        ("exp://app", True),
        ("https://evil.com", False),
        ("https://[", False),
        ("", False),
    ],
)
def test_redirect_is_allowed_to_the_site_and_the_listed_patterns(requested: str, is_allowed: bool) -> None:
    patterns = ("https://preview-*.example.com/*", "https://other.example/**", "exp://app")
    site = "https://app.example"
    assert allowed_redirect(requested, site, patterns) == (requested if is_allowed else site)


@asynccontextmanager
async def _client(rules: AuthRules) -> AsyncIterator[httpx.AsyncClient]:
    """Serve Auth without a database."""
    store = AuthStore(AsyncConnectionPool("", open=False))
    transport = httpx.ASGITransport(create_auth(store, Keys(), issuer="http://x/auth/v1", rules=rules))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as http:
        yield http

"""Links and one-time passwords of Auth, confirmations, and the hook for access tokens, over a real database."""

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import jwt
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool

from smelt.local import StackHandle
from smelt.local.auth import AuthStore, create_auth
from smelt.local.keys import Keys
from smelt.local.project import AuthRules

PASSWORD = "correct horse"
ADMIN = {"authorization": f"Bearer {Keys().service_role_key}"}
CONFIRMING = AuthRules(confirms_email=True, site_url="https://app.example", redirect_urls=("https://*.example.com/**",))


@asynccontextmanager
async def serving(stack: StackHandle, rules: AuthRules) -> AsyncIterator[httpx.AsyncClient]:
    """Serve Auth with these rules over the database of a stack."""
    dsn = make_conninfo(stack.admin_dsn, user="supabase_auth_admin")
    async with AsyncConnectionPool(dsn, min_size=1, max_size=2, open=False) as pool:
        app = create_auth(AuthStore(pool), Keys(), issuer="http://auth", rules=rules)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://auth") as http:
            yield http


@pytest.fixture
async def http(bare_stack: StackHandle) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(bare_stack, CONFIRMING) as client:
        yield client


@pytest.fixture
def mails(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="smelt.local.auth.mailed_links")
    return caplog


def last_mail(mails: pytest.LogCaptureFixture, address: str) -> tuple[str, str]:
    """Return the one-time password and the link of the last mail to an address."""
    found = re.findall(rf"mail to {re.escape(address)} \(\w+\): code (\d+), link (\S+)", mails.text)
    code, link = found[-1]
    return str(code), str(link)


async def test_sign_up_with_confirmations_needs_the_link_in_the_log(
    http: httpx.AsyncClient, mails: pytest.LogCaptureFixture, address: str
) -> None:
    credentials = {"email": address, "password": PASSWORD}
    user = (await http.post("/signup", json=credentials | {"data": {"nick": "x"}})).json()
    assert "access_token" not in user
    assert "email_confirmed_at" not in user
    rejected = await http.post("/token?grant_type=password", json=credentials)
    assert rejected.json()["error_code"] == "email_not_confirmed"
    _, link = last_mail(mails, address)
    target = urlsplit((await http.get(link)).headers["location"])
    fragment = parse_qs(target.fragment)
    assert (target.netloc, fragment["type"]) == ("app.example", ["signup"])
    claims = jwt.decode(fragment["access_token"][0], options={"verify_signature": False})
    assert (claims["sub"], claims["amr"][0]["method"]) == (user["id"], "otp")
    assert claims["user_metadata"] == {**user["user_metadata"], "email_verified": True}
    assert (await http.post("/token?grant_type=password", json=credentials)).status_code == 200
    again = urlsplit((await http.get(link)).headers["location"])
    assert parse_qs(again.fragment)["error_code"] == ["otp_expired"]


async def test_sign_up_of_a_confirmed_address_is_not_revealed(
    http: httpx.AsyncClient, mails: pytest.LogCaptureFixture, address: str
) -> None:
    await http.post("/admin/users", json={"email": address, "email_confirm": True}, headers=ADMIN)
    response = await http.post("/signup", json={"email": address, "password": PASSWORD})
    assert (response.status_code, response.json()["identities"]) == (200, [])
    assert address not in mails.text


@pytest.mark.parametrize("kind", ["signup", "invite", "magiclink", "recovery"])
async def test_generate_link_returns_a_token_for_verify_otp_that_is_used_once(
    http: httpx.AsyncClient, address: str, kind: str
) -> None:
    if kind in ("magiclink", "recovery"):
        await http.post("/admin/users", json={"email": address, "email_confirm": True}, headers=ADMIN)
    body = {"type": kind, "email": address, "password": PASSWORD, "redirect_to": "https://a.example.com/b"}
    link = (await http.post("/admin/generate_link", json=body, headers=ADMIN)).json()
    assert (link["email"], link["verification_type"]) == (address, kind)
    assert parse_qs(urlsplit(link["action_link"]).query) == {
        "token": [link["hashed_token"]],
        "type": [kind],
        "redirect_to": ["https://a.example.com/b"],
    }
    session = await http.post("/verify", json={"token_hash": link["hashed_token"], "type": kind})
    assert (session.status_code, session.json()["user"]["id"]) == (200, link["id"])
    assert session.json()["user"]["email_confirmed_at"]
    again = await http.post("/verify", json={"token_hash": link["hashed_token"], "type": kind})
    assert (again.status_code, again.json()["error_code"]) == (403, "otp_expired")


async def test_generate_link_works_with_the_official_client(
    connect: Any, bare_stack: StackHandle, address: str
) -> None:
    admin = (await connect(bare_stack.secret_key)).auth.admin
    generated = await admin.generate_link({"type": "magiclink", "email": address})
    assert generated.properties.verification_type == "signup"
    client = await connect()
    session = await client.auth.verify_otp({"token_hash": generated.properties.hashed_token, "type": "email"})
    assert session.user.email == address
    assert (await client.auth.get_user()).user.id == session.user.id


async def test_generate_link_is_denied_to_users_and_for_a_change_of_address(
    http: httpx.AsyncClient, address: str
) -> None:
    body = {"type": "magiclink", "email": address}
    denied = await http.post("/admin/generate_link", json=body, headers={"authorization": f"Bearer {Keys().anon_key}"})
    assert denied.json()["error_code"] == "not_admin"
    for change, status in (({"type": "email_change_new"}, 422), ({"type": "recovery"}, 404)):
        rejected = await http.post("/admin/generate_link", json=body | change, headers=ADMIN)
        assert rejected.status_code == status


async def test_one_time_password_and_recovery_are_written_to_the_log(
    http: httpx.AsyncClient, mails: pytest.LogCaptureFixture, address: str
) -> None:
    """A one-time password of a new address creates the user; only the last one is valid, and only for its address."""
    for _ in range(2):
        assert (await http.post("/otp", json={"email": address})).json() == {}
    code, _ = last_mail(mails, address)
    other = await http.post("/verify", json={"email": f"x{address}", "token": code, "type": "email"})
    assert other.json()["error_code"] == "otp_expired"
    session = await http.post("/verify", json={"email": address.upper(), "token": code, "type": "email"})
    assert session.json()["user"]["email"] == address
    assert (await http.post("/recover?redirect_to=https://a.example.com/reset", json={"email": address})).json() == {}
    _, link = last_mail(mails, address)
    location = (await http.get(link)).headers["location"]
    assert location.startswith("https://a.example.com/reset#")
    assert parse_qs(urlsplit(location).fragment)["type"] == ["recovery"]
    unknown = f"{uuid4().hex}@example.com"
    assert (await http.post("/recover", json={"email": unknown})).json() == {}
    rejected = await http.post("/otp", json={"email": unknown, "create_user": False})
    assert rejected.json()["error_code"] == "otp_disabled"
    assert unknown not in mails.text


async def test_one_time_password_expires(bare_stack: StackHandle, address: str) -> None:
    async with serving(bare_stack, AuthRules(otp_lifetime_s=0, otp_characters=8)) as http:
        link = (
            await http.post("/admin/generate_link", json={"type": "invite", "email": address}, headers=ADMIN)
        ).json()
        assert len(link["email_otp"]) == 8
        expired = await http.post("/verify", json={"token_hash": link["hashed_token"], "type": "invite"})
    assert (expired.status_code, expired.json()["error_code"]) == (403, "otp_expired")


async def test_pkce_with_links_by_mail_is_rejected(http: httpx.AsyncClient, address: str) -> None:
    rejected = await http.post("/otp", json={"email": address, "code_challenge": "x"})
    assert (rejected.status_code, rejected.json()["error_code"]) == (422, "feature_disabled")


HOOK = """
create schema if not exists hooks;
grant usage on schema hooks to supabase_auth_admin;
create or replace function hooks.claims(event jsonb) returns jsonb language plpgsql as $$
    begin
        if event -> 'claims' ->> 'email' like 'rejected%' then
            return '{"error": {"http_code": 403, "message": "not you"}}';
        elsif event -> 'claims' ->> 'email' like 'failing%' then
            raise exception 'broken';
        elsif event -> 'claims' ->> 'email' like 'empty%' then
            return '{"claims": {}}';
        end if;
        return jsonb_set(event, '{claims,user_role}', to_jsonb('editor by ' || (event ->> 'authentication_method')));
    end
    $$;
"""


async def test_token_hook_changes_the_claims_or_rejects_the_sign_in(bare_stack: StackHandle, address: str) -> None:
    with psycopg.connect(bare_stack.db_url, autocommit=True) as database:
        database.execute(HOOK)
    outcomes = {}
    async with serving(bare_stack, AuthRules(token_hook=("hooks", "claims"))) as http:
        for prefix in ("", "rejected", "failing", "empty"):
            response = await http.post("/signup", json={"email": prefix + address, "password": PASSWORD})
            outcomes[prefix] = response.status_code, response.json()
        token = outcomes[""][1]["access_token"]
        refreshed = await http.post(
            "/token?grant_type=refresh_token", json={"refresh_token": outcomes[""][1]["refresh_token"]}
        )
    for issued in (token, refreshed.json()["access_token"]):
        assert jwt.decode(issued, options={"verify_signature": False})["user_role"] == "editor by password"
    assert [(status, body.get("msg")) for status, body in list(outcomes.values())[1:]] == [
        (403, "not you"),
        (500, "Error running hook URI: pg-functions://postgres/hooks/claims"),
        (500, "output claims do not conform to the expected schema"),
    ]


async def test_refresh_token_reuse_interval_of_the_project_is_followed(bare_stack: StackHandle, address: str) -> None:
    """Without an interval, a token whose successor was used is not accepted again."""
    async with serving(bare_stack, AuthRules(token_reuse_interval_s=0)) as http:
        first = (await http.post("/signup", json={"email": address, "password": PASSWORD})).json()["refresh_token"]

        async def refresh(token: str) -> httpx.Response:
            return await http.post("/token?grant_type=refresh_token", json={"refresh_token": token})

        second = (await refresh(first)).json()["refresh_token"]
        await refresh(second)
        assert (await refresh(first)).json()["error_code"] == "refresh_token_already_used"

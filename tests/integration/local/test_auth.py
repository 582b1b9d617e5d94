"""Auth with the official Python client, and with plain HTTP where the client hides details."""

import asyncio
import time
from typing import Any

import httpx
import jwt
import psycopg
import pytest
from supabase import AuthApiError, AuthWeakPasswordError

from smelt.local import StackHandle

PASSWORD = "correct horse"


def _claims(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


async def test_sign_up_returns_a_session_with_the_claims_of_the_platform(
    connect: Any, address: str, bare_stack: StackHandle
) -> None:
    """The access token has the platform's claims, and Postgres identifies the user by them."""
    client = await connect()
    signed_up = await client.auth.sign_up(
        {"email": address.upper(), "password": PASSWORD, "options": {"data": {"nick": "x"}}}
    )
    assert signed_up.user.email == address
    assert signed_up.user.user_metadata["nick"] == "x"
    assert [identity.provider for identity in signed_up.user.identities] == ["email"]
    claims = _claims(signed_up.session.access_token)
    assert claims["iss"] == f"{bare_stack.api_url}/auth/v1"
    assert claims["sub"] == signed_up.user.id
    assert claims["aud"] == claims["role"] == "authenticated"
    assert claims["app_metadata"] == {"provider": "email", "providers": ["email"]}
    assert claims["amr"][0]["method"] == "password"
    assert claims["is_anonymous"] is False
    assert claims["exp"] - claims["iat"] == 3600
    with psycopg.connect(bare_stack.admin_dsn) as database:
        row = database.execute("select encrypted_password from auth.users where email = %s", [address]).fetchone()
    assert row is not None
    assert row[0].startswith("$2b$10$")


async def test_sign_up_of_a_known_address_is_rejected_even_concurrently(connect: Any, address: str) -> None:
    """A second sign-up with the same email fails, even if both run concurrently."""
    client = await connect()
    attempts = (client.auth.sign_up({"email": address, "password": PASSWORD}) for _ in range(3))
    results = await asyncio.gather(*attempts, return_exceptions=True)
    errors = [result for result in results if isinstance(result, AuthApiError)]
    assert len(errors) == 2
    assert {error.code for error in errors} <= {"user_already_exists", "email_exists"}


async def test_sign_in_error_is_the_same_for_wrong_password_and_address(connect: Any, address: str) -> None:
    """The error does not reveal whether an account exists."""
    client = await connect()
    await client.auth.sign_up({"email": address, "password": PASSWORD})
    for credentials in ({"email": address, "password": "wrong"}, {"email": f"x{address}", "password": PASSWORD}):
        with pytest.raises(AuthApiError, match="Invalid login credentials") as error:
            await client.auth.sign_in_with_password(credentials)
        assert (error.value.status, error.value.code) == (400, "invalid_credentials")


async def test_sign_up_with_a_weak_password_returns_the_reasons(connect: Any, address: str) -> None:
    """Clients display the reasons."""
    client = await connect()
    with pytest.raises(AuthWeakPasswordError) as error:
        await client.auth.sign_up({"email": address, "password": "short"})
    assert error.value.reasons == ["length"]


async def test_anonymous_user_keeps_the_id_when_adding_an_address(connect: Any, address: str) -> None:
    """The id does not change, and the password can be used to sign in."""
    client = await connect()
    anonymous = (await client.auth.sign_in_anonymously()).user
    assert anonymous.is_anonymous
    assert anonymous.app_metadata == {}
    changed = (await client.auth.update_user({"email": address, "password": PASSWORD})).user
    assert changed.id == anonymous.id
    assert not changed.is_anonymous
    again = await (await connect()).auth.sign_in_with_password({"email": address, "password": PASSWORD})
    assert again.user.id == anonymous.id


async def test_anonymous_user_without_an_address_cannot_set_a_password(connect: Any) -> None:
    """A password without an email could not be used."""
    client = await connect()
    await client.auth.sign_in_anonymously()
    with pytest.raises(AuthApiError, match="anonymous user without an email") as error:
        await client.auth.update_user({"password": PASSWORD})
    assert error.value.code == "validation_failed"


async def test_refresh_token_reuse_after_the_interval_revokes_its_family(
    connect: Any, http: httpx.AsyncClient, bare_stack: StackHandle
) -> None:
    """A client that missed the response gets the successor again; a later reuse revokes the whole family."""
    session = (await (await connect()).auth.sign_in_anonymously()).session

    async def refresh(token: str) -> httpx.Response:
        return await http.post(
            "/auth/v1/token?grant_type=refresh_token",
            json={"refresh_token": token},
            headers={"apikey": bare_stack.anon_key},
        )

    first = session.refresh_token
    second = (await refresh(first)).json()["refresh_token"]
    assert second != first
    assert (await refresh(first)).json()["refresh_token"] == second
    await refresh(second)
    # `first` is not the parent of the active token any more: within the reuse interval it is a concurrent tab.
    third = (await refresh(first)).json()["refresh_token"]
    fourth = (await refresh(third)).json()["refresh_token"]
    with psycopg.connect(bare_stack.admin_dsn) as database:
        database.execute("update auth.refresh_tokens set updated_at = now() - interval '1 hour' where revoked")
    stolen = await refresh(first)
    assert stolen.status_code == 400
    assert stolen.json()["error_code"] == "refresh_token_already_used"
    assert (await refresh(fourth)).json()["error_code"] == "refresh_token_already_used"
    assert (await refresh("never issued")).json()["error_code"] == "refresh_token_not_found"


async def test_refresh_by_concurrent_tabs_returns_one_new_token(
    connect: Any, http: httpx.AsyncClient, bare_stack: StackHandle
) -> None:
    """None of the tabs is signed out."""
    token = (await (await connect()).auth.sign_in_anonymously()).session.refresh_token
    responses = await asyncio.gather(
        *(
            http.post(
                "/auth/v1/token?grant_type=refresh_token",
                json={"refresh_token": token},
                headers={"apikey": bare_stack.anon_key},
            )
            for _ in range(5)
        )
    )
    assert [response.status_code for response in responses] == [200] * 5
    assert len({response.json()["refresh_token"] for response in responses}) == 1


async def test_refresh_keeps_the_session_id(connect: Any) -> None:
    """The session and sign-in method stay, the expiry is later."""
    client = await connect()
    before = _claims((await client.auth.sign_in_anonymously()).session.access_token)
    after = _claims((await client.auth.refresh_session()).session.access_token)
    assert after["session_id"] == before["session_id"]
    assert after["amr"] == before["amr"]
    assert after["exp"] >= before["exp"]


async def test_sign_out_revokes_the_tokens_of_its_scope(connect: Any, address: str) -> None:
    """Tokens are rejected at once, also on other devices; with scope `others` this session stays."""
    one, two = await connect(), await connect()
    await one.auth.sign_up({"email": address, "password": PASSWORD})
    token = (await two.auth.sign_in_with_password({"email": address, "password": PASSWORD})).session.access_token
    kept = (await one.auth.get_session()).access_token
    await one.auth.sign_out({"scope": "others"})
    with pytest.raises(AuthApiError) as error:
        await two.auth.get_user(token)
    assert error.value.code == "session_not_found"
    assert (await one.auth.get_user(kept)).user.email == address
    await one.auth.sign_out()
    with pytest.raises(AuthApiError):
        await one.auth.get_user(kept)


async def test_password_change_revokes_the_other_sessions(connect: Any, address: str) -> None:
    """The old password is rejected."""
    one, two = await connect(), await connect()
    await one.auth.sign_up({"email": address, "password": PASSWORD})
    token = (await two.auth.sign_in_with_password({"email": address, "password": PASSWORD})).session.access_token
    with pytest.raises(AuthApiError) as error:
        await one.auth.update_user({"password": PASSWORD})
    assert error.value.code == "same_password"
    await one.auth.update_user({"password": "another one", "data": {"nick": "y"}})
    with pytest.raises(AuthApiError):
        await two.auth.get_user(token)
    with pytest.raises(AuthApiError):
        await two.auth.sign_in_with_password({"email": address, "password": PASSWORD})
    assert (await one.auth.get_user()).user.user_metadata["nick"] == "y"


async def test_admin_api_manages_users_with_the_service_key(
    connect: Any, address: str, bare_stack: StackHandle
) -> None:
    """Users are created, read, listed, changed, banned and deleted."""
    admin = (await connect(bare_stack.service_role_key)).auth.admin
    made = await admin.create_user(
        {"email": address, "password": PASSWORD, "email_confirm": True, "app_metadata": {"team": "a"}}
    )
    assert made.user.app_metadata == {"provider": "email", "providers": ["email"], "team": "a"}
    assert (await admin.get_user_by_id(made.user.id)).user.email == address
    assert made.user.id in {user.id for user in await admin.list_users(page=1, per_page=1000)}
    changed = await admin.update_user_by_id(made.user.id, {"ban_duration": "1h", "app_metadata": {"team": None}})
    assert changed.user.app_metadata == {"provider": "email", "providers": ["email"]}
    client = await connect()
    for password in (PASSWORD, "wrong"):
        with pytest.raises(AuthApiError) as banned:
            await client.auth.sign_in_with_password({"email": address, "password": password})
        assert banned.value.code == "user_banned"
    await admin.update_user_by_id(made.user.id, {"ban_duration": "none", "user_metadata": {"k": 1}})
    token = (await client.auth.sign_in_with_password({"email": address, "password": PASSWORD})).session.access_token
    await admin.update_user_by_id(made.user.id, {"ban_duration": "1h30m"})
    with pytest.raises(AuthApiError, match="User Banned"):
        await client.auth.refresh_session()
    await admin.delete_user(made.user.id)
    with pytest.raises(AuthApiError) as gone:
        await client.auth.get_user(token)
    assert gone.value.code == "user_not_found"
    with pytest.raises(AuthApiError) as missing:
        await admin.delete_user(made.user.id)
    assert (missing.value.status, missing.value.code) == (404, "user_not_found")


async def test_sign_in_of_an_unconfirmed_user_fails_until_confirmed(
    connect: Any, address: str, bare_stack: StackHandle
) -> None:
    """The service key confirms the email."""
    admin = (await connect(bare_stack.secret_key)).auth.admin
    made = await admin.create_user({"email": address, "password": PASSWORD})
    client = await connect(bare_stack.publishable_key)
    with pytest.raises(AuthApiError) as error:
        await client.auth.sign_in_with_password({"email": address, "password": PASSWORD})
    assert error.value.code == "email_not_confirmed"
    await admin.update_user_by_id(made.user.id, {"email_confirm": True})
    assert (await client.auth.sign_in_with_password({"email": address, "password": PASSWORD})).user.id == made.user.id


@pytest.mark.parametrize("who", ["anon", "user", "nobody"])
async def test_admin_api_rejects_every_caller_without_the_service_key(
    who: str, connect: Any, http: httpx.AsyncClient, bare_stack: StackHandle
) -> None:
    """The anon key, a signed-in user, and a missing token are rejected."""
    headers = {"apikey": bare_stack.anon_key}
    if who == "user":
        token = (await (await connect()).auth.sign_in_anonymously()).session.access_token
        headers["authorization"] = f"Bearer {token}"
    if who == "nobody":
        headers["authorization"] = "Basic x"
    response = await http.get("/auth/v1/admin/users", headers=headers)
    expected = (401, "no_authorization") if who == "nobody" else (403, "not_admin")
    assert (response.status_code, response.json()["error_code"]) == expected


@pytest.mark.parametrize(
    ("token", "code"), [("not.a.jwt", "bad_jwt"), ("forged", "bad_jwt"), ("expired", "bad_jwt"), ("anon", "bad_jwt")]
)
async def test_get_user_rejects_malformed_forged_expired_and_key_tokens(
    token: str, code: str, http: httpx.AsyncClient, bare_stack: StackHandle
) -> None:
    """No user is returned for such tokens."""
    claims = {"sub": "x", "exp": int(time.time()) + 60}
    tokens = {
        "forged": jwt.encode(claims, "y" * 40, algorithm="HS256"),
        "expired": jwt.encode(claims | {"exp": 1}, bare_stack.jwt_secret, algorithm="HS256"),
        "anon": bare_stack.anon_key,
    }
    headers = {"apikey": bare_stack.anon_key, "authorization": f"Bearer {tokens.get(token, token)}"}
    response = await http.get("/auth/v1/user", headers=headers)
    assert (response.status_code, response.json()["error_code"]) == (403, code)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"email": 5}', b"\xff\xfe", b"[" * 100_000])
async def test_sign_up_rejects_a_malformed_body_with_bad_json(
    body: bytes, http: httpx.AsyncClient, bare_stack: StackHandle
) -> None:
    """The error has the platform's format."""
    response = await http.post("/auth/v1/signup", content=body, headers={"apikey": bare_stack.anon_key})
    assert response.status_code == 400
    assert response.json()["error_code"] == "bad_json"


async def test_user_update_rejects_address_and_app_metadata_changes(
    connect: Any, address: str, bare_stack: StackHandle
) -> None:
    """Changes of a confirmed email or of app metadata, and soft deletion, are rejected."""
    client = await connect()
    user = (await client.auth.sign_up({"email": address, "password": PASSWORD})).user
    for change, status in (({"email": f"x{address}"}, 422), ({"app_metadata": {"role": "admin"}}, 403)):
        with pytest.raises(AuthApiError) as error:
            await client.auth.update_user(change)
        assert error.value.status == status
    admin = (await connect(bare_stack.secret_key)).auth.admin
    with pytest.raises(AuthApiError, match="supabase start"):
        await admin.delete_user(user.id, should_soft_delete=True)
    assert (await admin.get_user_by_id(user.id)).user.email == address


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/authorize?provider=github", 400, "validation_failed"),
        ("POST", "/sso", 404, "saml_provider_disabled"),
        ("POST", "/factors", 422, "mfa_totp_enroll_not_enabled"),
        ("GET", "/user/identities/authorize?provider=github", 404, "manual_linking_disabled"),
        ("POST", "/token?grant_type=id_token", 400, "provider_disabled"),
        ("POST", "/token?grant_type=web3", 422, "web3_provider_disabled"),
        ("GET", "/reauthenticate", 422, "feature_disabled"),
        ("GET", "/admin/audit", 422, "feature_disabled"),
    ],
)
async def test_auth_feature_that_is_not_served_is_disabled_as_on_the_platform(
    method: str, path: str, status: int, code: str, http: httpx.AsyncClient, bare_stack: StackHandle
) -> None:
    """Clients take a 5xx for a failure that passes, and retry."""
    response = await http.request(method, f"/auth/v1{path}", headers={"apikey": bare_stack.anon_key}, json={})
    assert (response.status_code, response.json()["error_code"]) == (status, code)
    assert code != "feature_disabled" or "supabase start" in response.json()["msg"]


async def test_auth_health_settings_and_jwks_are_served(http: httpx.AsyncClient, bare_stack: StackHandle) -> None:
    """The list of public keys is empty, since tokens are signed with a shared secret."""
    headers = {"apikey": bare_stack.anon_key}
    assert (await http.get("/auth/v1/health", headers=headers)).json()["name"] == "GoTrue"
    settings = (await http.get("/auth/v1/settings", headers=headers)).json()
    assert settings["external"]["anonymous_users"] is True
    assert settings["mailer_autoconfirm"] is True
    assert (await http.get("/auth/v1/.well-known/jwks.json")).json() == {"keys": []}

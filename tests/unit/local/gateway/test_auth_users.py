"""Claims, users, passwords, emails and durations of the Auth server."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from smelt.local.auth import passwords
from smelt.local.auth.admin import parse_ban
from smelt.local.auth.emails import normalize_email
from smelt.local.auth.errors import AuthError, weak_password
from smelt.local.auth.users import Session, User, access_claims
from smelt.local.keys import Keys
from smelt.local.project import AuthRules

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
USER = User(
    id=UUID(int=1),
    aud="authenticated",
    role="authenticated",
    email=None,
    encrypted_password=None,
    email_confirmed_at=None,
    phone=None,
    phone_confirmed_at=None,
    confirmed_at=None,
    last_sign_in_at=NOW,
    raw_app_meta_data={},
    raw_user_meta_data={"nick": "x"},
    created_at=NOW,
    updated_at=NOW,
    banned_until=NOW + timedelta(hours=1),
    is_anonymous=True,
)
SESSION = Session(id=UUID(int=2), user_id=USER.id, aal="aal1", method="anonymous", signed_in_at=NOW)


def test_access_token_claims_match_the_platform() -> None:
    """The token has exactly the claims that policies and clients read."""
    claims = access_claims(USER, SESSION, issuer="http://x/auth/v1", issued_at=1000, lifetime_s=3600)
    assert claims == {
        "iss": "http://x/auth/v1",
        "sub": str(USER.id),
        "aud": "authenticated",
        "iat": 1000,
        "exp": 4600,
        "email": "",
        "phone": "",
        "app_metadata": {},
        "user_metadata": {"nick": "x"},
        "role": "authenticated",
        "aal": "aal1",
        "amr": [{"method": "anonymous", "timestamp": int(NOW.timestamp())}],
        "session_id": str(SESSION.id),
        "is_anonymous": True,
    }


@given(st.integers(0, 2**31), st.integers(1, 10**6), st.dictionaries(st.text(), st.text()))
def test_access_token_claims_survive_signing(issued_at: int, lifetime_s: int, metadata: dict[str, str]) -> None:
    """The token contains the user's metadata unchanged."""
    keys, issued_at = Keys(), issued_at + 2**32
    claims = access_claims(
        User(**{**vars(USER), "raw_user_meta_data": metadata}),
        SESSION,
        issuer="i",
        issued_at=issued_at,
        lifetime_s=lifetime_s,
    )
    assert keys.verify(keys.sign(claims)) == claims


def test_user_json_omits_times_that_are_not_set() -> None:
    """Clients detect a confirmed email by the presence of the key."""
    shown = USER.as_json([])
    assert "email_confirmed_at" not in shown
    assert shown["last_sign_in_at"] == "2026-11-20T12:00:00Z"
    assert shown["is_anonymous"] is True


def test_ban_expires() -> None:
    """A ban ends at its time."""
    assert USER.is_banned(NOW)
    assert not USER.is_banned(NOW + timedelta(hours=2))


@pytest.mark.parametrize(
    ("text", "length"),
    [("24h", timedelta(hours=24)), ("1h30m", timedelta(minutes=90)), ("1.5h", timedelta(minutes=90))],
)
def test_ban_duration_is_parsed_in_go_syntax(text: str, length: timedelta) -> None:
    """Durations have Go's format."""
    assert parse_ban(text, NOW) == NOW + length


@pytest.mark.parametrize("text", ["", "1", "1d", "h", "1h x"])
def test_ban_duration_that_is_invalid_is_rejected(text: str) -> None:
    """An invalid duration is an error, and does not lift the ban."""
    with pytest.raises(AuthError) as error:
        parse_ban(text, NOW)
    assert error.value.error_code == "validation_failed"


def test_ban_duration_none_lifts_the_ban() -> None:
    """`none` removes a ban."""
    assert parse_ban("none", NOW) is None


@pytest.mark.parametrize("email", ["a@example.com", " A.B+c@Example.COM ", "x@localhost"])
def test_email_address_is_normalized_to_lower_case(email: str) -> None:
    """Emails are case-insensitive."""
    assert normalize_email(email) == email.strip().lower()


@pytest.mark.parametrize("email", ["", "a", "a@", "@b", "a b@c.d", "a@b@c", "a" * 300 + "@b.c"])
def test_email_address_that_is_invalid_is_rejected(email: str) -> None:
    """The error is a validation failure."""
    with pytest.raises(AuthError) as error:
        normalize_email(email)
    assert error.value.error_code == "validation_failed"


async def test_password_matches_only_its_hash() -> None:
    """Another password does not match, and an invalid hash matches nothing."""
    hashed = await passwords.hash_password("secret1")
    assert hashed.startswith("$2b$10$")
    assert await passwords.matches("secret1", hashed)
    assert not await passwords.matches("secret2", hashed)
    assert not await passwords.matches("secret1", "plain text")
    assert not await passwords.matches("secret1", None)
    assert not await passwords.matches("x" * 73, hashed)


@pytest.mark.parametrize("password", ["12345", "", "x" * 73, "ü" * 37])
def test_password_too_short_or_too_long_is_rejected(password: str) -> None:
    """Too short, or longer than bcrypt's limit."""
    with pytest.raises(AuthError):
        passwords.check_password(password, AuthRules())


@pytest.mark.parametrize(
    ("version", "body"),
    [
        (None, {"code": 422, "error_code": "weak_password", "msg": "short"}),
        ("nonsense", {"code": 422, "error_code": "weak_password", "msg": "short"}),
        ("2023-12-31", {"code": 422, "error_code": "weak_password", "msg": "short"}),
        ("2024-01-01", {"code": "weak_password", "message": "short"}),
        ("2030-01-01", {"code": "weak_password", "message": "short"}),
    ],
)
def test_error_body_follows_the_requested_api_version(version: str | None, body: dict[str, object]) -> None:
    """The response contains the version."""
    headers = [] if version is None else [(b"x-supabase-api-version", version.encode())]
    response = weak_password("short", "length").response(Request({"type": "http", "headers": headers}))
    assert json.loads(bytes(response.body)) == body | {"weak_password": {"reasons": ["length"]}}
    assert response.headers.get("x-supabase-api-version") == ("2024-01-01" if "message" in body else None)

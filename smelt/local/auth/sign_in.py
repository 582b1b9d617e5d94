"""Endpoints for sign-up, sign-in and token refresh."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from smelt.local.auth import errors, passwords
from smelt.local.auth.emails import normalize_email
from smelt.local.auth.errors import AuthError
from smelt.local.auth.mailed_links import MailedLinks
from smelt.local.auth.requests import PasswordGrant, RefreshGrant, SignUp, read_body
from smelt.local.auth.sessions import Sessions
from smelt.local.auth.store import AuthStore, AuthTransaction, show_user
from smelt.local.auth.users import EMAIL_METADATA, User
from smelt.local.project import AuthRules


@dataclass(frozen=True)
class SignInRoutes:
    """The endpoints that open and refresh sessions."""

    store: AuthStore
    sessions: Sessions
    links: MailedLinks
    rules: AuthRules

    async def sign_up(self, request: Request) -> Response:
        """`POST /signup`: create a user with email and password, or an anonymous one, and sign in."""
        body = await read_body(request, SignUp)
        is_anonymous = not body.email and not body.phone
        if is_anonymous and not self.rules.allows_anonymous:
            raise AuthError(422, "anonymous_provider_disabled", "Anonymous sign-ins are disabled")
        if not self.rules.allows_sign_up:
            raise errors.signup_disabled()
        if is_anonymous:
            return await self._sign_up_anonymously(request, body)
        if not body.password:
            raise errors.validation_failed("Signup requires a valid password")
        passwords.check_password(body.password, self.rules)
        _check_single_identifier(body, "signup")
        if body.phone:
            raise AuthError(400, "phone_provider_disabled", "Phone signups are disabled")
        if not self.rules.allows_email:
            raise AuthError(400, "email_provider_disabled", "Email signups are disabled")
        return await self._sign_up_by_email(request, body)

    async def token(self, request: Request) -> Response:
        """`POST /token?grant_type=`: sign in with a password, or exchange a refresh token."""
        match request.query_params.get("grant_type"):
            case "password":
                return await self._sign_in(request, await read_body(request, PasswordGrant))
            case "refresh_token":
                return await self._refresh(await read_body(request, RefreshGrant))
            case "id_token":
                raise AuthError(400, "provider_disabled", "Provider is not enabled")
            case "web3":
                raise AuthError(422, "web3_provider_disabled", "Web3 provider is disabled")
            case "pkce":
                raise AuthError(404, "flow_state_not_found", "invalid flow state, no valid flow state found")
            case _:
                raise AuthError(400, "invalid_credentials", "unsupported_grant_type")

    async def _sign_up_by_email(self, request: Request, body: SignUp) -> Response:
        email, data = normalize_email(body.email), body.data or {}
        hashed = await passwords.hash_password(body.password)
        async with self.store.transaction() as transaction:
            user = await transaction.user_by_email(email)
            if self.rules.confirms_email:
                if user is not None and user.email_confirmed_at is not None:
                    return JSONResponse(_imitation(user, data))
                if user is None:
                    user = await insert_by_email(transaction, email, hashed, data)
                await self.links.send(transaction, user, "signup", self.links.redirect_of(request))
                return await show_user(transaction, user)
            if user is not None:
                raise AuthError(422, "user_already_exists", "User already registered")
            user = await insert_by_email(transaction, email, hashed, data, confirmed_at=datetime.now(UTC))
            return JSONResponse(await self.sessions.open(transaction, user, "password", _agent(request)))

    async def _sign_up_anonymously(self, request: Request, body: SignUp) -> Response:
        async with self.store.transaction() as transaction:
            user = await transaction.insert_user(
                None, is_anonymous=True, raw_app_meta_data={}, raw_user_meta_data=body.data or {}
            )
            return JSONResponse(await self.sessions.open(transaction, user, "anonymous", _agent(request)))

    async def _sign_in(self, request: Request, body: PasswordGrant) -> Response:
        _check_single_identifier(body, "login")
        if body.phone:
            raise AuthError(422, "phone_provider_disabled", "Phone logins are disabled")
        if not body.email:
            raise errors.validation_failed("missing email or phone")
        if not self.rules.allows_email:
            raise AuthError(422, "email_provider_disabled", "Email logins are disabled")
        async with self.store.transaction() as transaction:
            user = await transaction.user_by_email(body.email.strip().lower())
        if user is None or not user.encrypted_password:
            raise errors.invalid_credentials()
        if user.is_banned(datetime.now(UTC)):
            raise AuthError(400, "user_banned", "User is banned")
        if not await passwords.matches(body.password, user.encrypted_password):
            raise errors.invalid_credentials()
        if user.email_confirmed_at is None:
            raise AuthError(400, "email_not_confirmed", "Email not confirmed")
        async with self.store.transaction() as transaction:
            return JSONResponse(await self.sessions.open(transaction, user, "password", _agent(request)))

    async def _refresh(self, body: RefreshGrant) -> Response:
        if not body.refresh_token:
            raise errors.validation_failed("refresh_token required")
        async with self.store.transaction() as transaction:
            outcome = await self.sessions.refresh(transaction, body.refresh_token)
        if isinstance(outcome, AuthError):
            raise outcome
        return JSONResponse(outcome)


def _check_single_identifier(body: SignUp | PasswordGrant, to: str) -> None:
    if body.email and body.phone:
        raise errors.validation_failed(f"Only an email address or phone number should be provided on {to}.")


async def insert_by_email(
    transaction: AuthTransaction,
    email: str,
    hashed: str | None,
    data: Mapping[str, Any],
    confirmed_at: datetime | None = None,
) -> User:
    """Create a user with an email, with the metadata of the platform."""
    confirmed = {"email_confirmed_at": confirmed_at} if confirmed_at else {}
    metadata = {"raw_app_meta_data": EMAIL_METADATA, "raw_user_meta_data": data}
    user = await transaction.insert_user(None, email=email, encrypted_password=hashed, **metadata, **confirmed)
    about = {"sub": str(user.id), "email": email, "email_verified": bool(confirmed), "phone_verified": False}
    return await transaction.update_user(user.id, raw_user_meta_data={**data, **about})


def _imitation(user: User, data: Mapping[str, Any]) -> dict[str, object]:
    """Return a new user with the address of an existing one: the response must not reveal that it exists."""
    now = datetime.now(UTC)
    imitation = replace(
        user,
        id=uuid4(),
        email_confirmed_at=None,
        confirmed_at=None,
        last_sign_in_at=None,
        banned_until=None,
        raw_app_meta_data=EMAIL_METADATA,
        raw_user_meta_data=data,
        created_at=now,
        updated_at=now,
    )
    return imitation.as_json([])


def _agent(request: Request) -> str | None:
    return request.headers.get("user-agent")

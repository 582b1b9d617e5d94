"""The signed-in user's own account."""

from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from smelt.local.auth import passwords, refusal
from smelt.local.auth.bearer import find_caller, read_bearer
from smelt.local.auth.emails import normalize_email
from smelt.local.auth.refusal import AuthRefusal
from smelt.local.auth.requests import UserChange, read_body
from smelt.local.auth.sessions import Scope, Sessions
from smelt.local.auth.signing_in import EMAIL_METADATA
from smelt.local.auth.store import AuthStore, AuthTransaction
from smelt.local.auth.users import User
from smelt.local.keys import Keys


@dataclass(frozen=True)
class Account:
    """The endpoints that show and change the caller's user, and end sessions."""

    store: AuthStore
    sessions: Sessions
    keys: Keys

    async def show(self, request: Request) -> Response:
        """`GET /user`."""
        claims = read_bearer(request, self.keys)
        async with self.store.transaction() as transaction:
            user, _ = await find_caller(transaction, claims)
            return await show_user(transaction, user)

    async def change(self, request: Request) -> Response:
        """`PUT /user`: another address, password or metadata; a new password ends the other sessions."""
        claims = read_bearer(request, self.keys)
        body = await read_body(request, UserChange)
        if body.phone:
            raise AuthRefusal(400, "phone_provider_disabled", "Phone signups are disabled")
        async with self.store.transaction() as transaction:
            user, session = await find_caller(transaction, claims)
        values = await _changes(user, body)
        async with self.store.transaction() as transaction:
            if values:
                user = await transaction.update_user(user.id, **values)
            if "encrypted_password" in values:
                await self.sessions.end(transaction, session, "others")
            return await show_user(transaction, user)

    async def sign_out(self, request: Request) -> Response:
        """`POST /logout?scope=`: end all sessions of the user, this one, or the others."""
        claims = read_bearer(request, self.keys)
        scope = _scope(request.query_params.get("scope", "global"))
        async with self.store.transaction() as transaction:
            _, session = await find_caller(transaction, claims)
            await self.sessions.end(transaction, session, scope)
        return Response(status_code=204)


async def show_user(transaction: AuthTransaction, user: User) -> Response:
    """Answer a user as JSON."""
    identities = await transaction.identities([user])
    return JSONResponse(user.as_json(identities[user.id]))


async def _changes(user: User, body: UserChange) -> dict[str, object]:
    """Answer the columns that a change of the own account sets."""
    values: dict[str, object] = {}
    metadata = dict(user.raw_user_meta_data)
    email = normalize_email(body.email) if body.email else user.email
    if email != user.email:
        metadata |= {"sub": str(user.id), "email": email, "email_verified": True, "phone_verified": False}
        values |= {
            "email": email,
            "email_confirmed_at": datetime.now(UTC),
            "is_anonymous": False,
            "raw_app_meta_data": {**user.raw_app_meta_data, **EMAIL_METADATA},
        }
    if body.password is not None:
        if not email:
            message = "Updating password of an anonymous user without an email or phone is not allowed"
            raise refusal.validation_failed(message, 422)
        values["encrypted_password"] = await _new_password(user, body.password)
    if body.data is not None:
        # Null takes a key out.
        metadata = {name: value for name, value in {**metadata, **body.data}.items() if value is not None}
    if metadata != user.raw_user_meta_data:
        values["raw_user_meta_data"] = metadata
    return values


async def _new_password(user: User, password: str) -> str:
    passwords.check_password(password)
    if await passwords.matches(password, user.encrypted_password):
        message = "New password should be different from the old password."
        raise AuthRefusal(422, "same_password", message)
    return await passwords.hash_password(password)


def _scope(value: str) -> Scope:
    match value:
        case "global" | "local" | "others":
            return value
        case _:
            raise refusal.validation_failed(f'Unsupported logout scope "{value}"')

"""Endpoints for the signed-in user's own account."""

from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from smelt.local.auth import errors, passwords
from smelt.local.auth.bearer import find_caller, read_bearer
from smelt.local.auth.emails import normalize_email
from smelt.local.auth.errors import AuthError
from smelt.local.auth.requests import UserChange, read_body
from smelt.local.auth.sessions import Scope, Sessions
from smelt.local.auth.store import AuthStore, show_user
from smelt.local.auth.users import EMAIL_METADATA, User, merge
from smelt.local.keys import Keys
from smelt.local.project import AuthRules


@dataclass(frozen=True)
class AccountRoutes:
    """The endpoints that return and change the caller's user, and end sessions."""

    store: AuthStore
    sessions: Sessions
    keys: Keys
    rules: AuthRules

    async def show(self, request: Request) -> Response:
        """`GET /user`: return the caller's user."""
        claims = read_bearer(request, self.keys)
        async with self.store.transaction() as transaction:
            user, _ = await find_caller(transaction, claims)
            return await show_user(transaction, user)

    async def change(self, request: Request) -> Response:
        """`PUT /user`: change the password, the metadata, or the email of an anonymous user.

        A new password ends the other sessions.
        """
        claims = read_bearer(request, self.keys)
        body = await read_body(request, UserChange)
        if body.phone:
            raise AuthError(400, "phone_provider_disabled", "Phone signups are disabled")
        async with self.store.transaction() as transaction:
            user, session = await find_caller(transaction, claims)
        values = await self._changes(user, body)
        async with self.store.transaction() as transaction:
            if values:
                user = await transaction.update_user(user.id, **values)
            if "encrypted_password" in values:
                await self.sessions.end(transaction, session, "others")
            return await show_user(transaction, user)

    async def sign_out(self, request: Request) -> Response:
        """`POST /logout?scope=`: end all sessions of the user, only this one, or only the others."""
        claims = read_bearer(request, self.keys)
        scope = _scope(request.query_params.get("scope", "global"))
        async with self.store.transaction() as transaction:
            _, session = await find_caller(transaction, claims)
            await self.sessions.end(transaction, session, scope)
        return Response(status_code=204)

    async def _changes(self, user: User, body: UserChange) -> dict[str, object]:
        """Return the columns that the change sets; raise `AuthError` if it is not allowed."""
        values: dict[str, object] = {}
        email = normalize_email(body.email) if body.email else user.email
        self._check(user, body, email)
        if body.password is not None:
            values["encrypted_password"] = await _new_password(user, body.password)
        metadata = merge(user.raw_user_meta_data, body.data or {})
        if email != user.email:
            metadata |= {"sub": str(user.id), "email": email, "email_verified": True, "phone_verified": False}
            values |= {
                "email": email,
                "email_confirmed_at": datetime.now(UTC),
                "is_anonymous": False,
                "raw_app_meta_data": {**user.raw_app_meta_data, **EMAIL_METADATA},
            }
        if metadata != user.raw_user_meta_data:
            values["raw_user_meta_data"] = metadata
        return values

    def _check(self, user: User, body: UserChange, email: str | None) -> None:
        if body.password is not None:
            passwords.check_password(body.password, self.rules)
        if body.app_metadata is not None:
            raise AuthError(403, "not_admin", "Updating app_metadata requires admin privileges")
        if body.password is not None and not email:
            message = "Updating password of an anonymous user without an email or phone is not allowed"
            raise errors.validation_failed(message, 422)
        if email != user.email and not user.is_anonymous:
            # The platform always confirms a changed email by mail, independently of the project's settings.
            raise errors.not_served("Confirming a new address by mail")


async def _new_password(user: User, password: str) -> str:
    if await passwords.matches(password, user.encrypted_password):
        message = "New password should be different from the old password."
        raise AuthError(422, "same_password", message)
    return await passwords.hash_password(password)


def _scope(value: str) -> Scope:
    match value:
        case "global" | "local" | "others":
            return value
        case _:
            raise errors.validation_failed(f'Unsupported logout scope "{value}"')

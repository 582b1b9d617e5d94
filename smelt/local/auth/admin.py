"""User management with the service key."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from smelt.local.auth import errors, passwords
from smelt.local.auth.bearer import require_admin
from smelt.local.auth.emails import normalize_email
from smelt.local.auth.requests import AdminUser, UserDeletion, read_body
from smelt.local.auth.store import AuthStore, show_user
from smelt.local.auth.users import EMAIL_METADATA, merge
from smelt.local.keys import Keys
from smelt.local.project import AuthRules

PER_PAGE: Final = 50
MAX_PER_PAGE: Final = 1000

_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(h|m|s)", re.ASCII)
_UNITS: Final = {"h": "hours", "m": "minutes", "s": "seconds"}


@dataclass(frozen=True)
class AdminRoutes:
    """The endpoints below `/admin/users`."""

    store: AuthStore
    keys: Keys
    rules: AuthRules

    async def create(self, request: Request) -> Response:
        """`POST /admin/users`: create a user without signing in."""
        require_admin(request, self.keys)
        body = await read_body(request, AdminUser)
        if not body.email and not body.phone:
            raise errors.validation_failed("Cannot create a user without either an email or phone")
        # As on the platform, the minimum length does not apply to new users, only to changes.
        passwords.check_length(body.password or "")
        app_metadata: Mapping[str, Any] = EMAIL_METADATA if body.email else {}
        user_metadata = {"email_verified": True} if body.email_confirm else {}
        values = await _columns(body, app_metadata, user_metadata)
        async with self.store.transaction() as transaction:
            metadata = {"raw_app_meta_data": app_metadata, "raw_user_meta_data": user_metadata}
            user = await transaction.insert_user(body.id, **(metadata | values))
            return await show_user(transaction, user)

    async def list(self, request: Request) -> Response:
        """`GET /admin/users?page=&per_page=`: return a page of users, newest first."""
        require_admin(request, self.keys)
        page = _positive(request, "page", 1)
        per_page = min(_positive(request, "per_page", PER_PAGE), MAX_PER_PAGE)
        async with self.store.transaction() as transaction:
            total = await transaction.count_users()
            users = await transaction.users(limit=per_page, offset=(page - 1) * per_page)
            identities = await transaction.identities(users)
        body = {"users": [user.as_json(identities[user.id]) for user in users], "aud": "authenticated"}
        return JSONResponse(body, headers=_page_headers(page, per_page, total))

    async def show(self, request: Request) -> Response:
        """`GET /admin/users/{id}`: return a user."""
        require_admin(request, self.keys)
        user_id = _user_id(request)
        async with self.store.transaction() as transaction:
            user = await transaction.user(user_id)
            if user is None:
                raise errors.user_not_found()
            return await show_user(transaction, user)

    async def change(self, request: Request) -> Response:
        """`PUT /admin/users/{id}`: set the fields in the body; metadata is merged."""
        require_admin(request, self.keys)
        user_id, body = _user_id(request), await read_body(request, AdminUser)
        if body.password:
            passwords.check_password(body.password, self.rules)
        async with self.store.transaction() as transaction:
            user = await transaction.user(user_id)
            if user is None:
                raise errors.user_not_found()
            values = await _columns(body, user.raw_app_meta_data, user.raw_user_meta_data)
            if values:
                user = await transaction.update_user(user.id, **values)
            return await show_user(transaction, user)

    async def delete(self, request: Request) -> Response:
        """`DELETE /admin/users/{id}`: remove a user with all sessions."""
        require_admin(request, self.keys)
        user_id = _user_id(request)
        has_body = request.headers.get("content-length", "0") != "0"
        if has_body and (await read_body(request, UserDeletion)).should_soft_delete:
            raise errors.not_served("Deleting a user softly")
        async with self.store.transaction() as transaction:
            if not await transaction.delete_user(user_id):
                raise errors.user_not_found()
        return JSONResponse({})


async def _columns(
    body: AdminUser, app_metadata: Mapping[str, Any], user_metadata: Mapping[str, Any]
) -> dict[str, object]:
    """Return the columns that a body sets, with its metadata merged into the existing one."""
    now = datetime.now(UTC)
    values: dict[str, object] = {}
    if body.email:
        values["email"] = normalize_email(body.email)
    if body.phone:
        values["phone"] = body.phone.lstrip("+")
    if body.password:
        values["encrypted_password"] = await passwords.hash_password(body.password)
    if body.role:
        values["role"] = body.role
    if body.email_confirm:
        values["email_confirmed_at"] = now
    if body.phone_confirm:
        values["phone_confirmed_at"] = now
    if body.app_metadata is not None:
        values["raw_app_meta_data"] = merge(app_metadata, body.app_metadata)
    if body.user_metadata is not None:
        values["raw_user_meta_data"] = merge(user_metadata, body.user_metadata)
    if body.ban_duration is not None:
        values["banned_until"] = parse_ban(body.ban_duration, now)
    return values


def parse_ban(duration: str, now: datetime) -> datetime | None:
    """Return the time after a duration such as `24h` or `1h30m`; None for `none`."""
    if duration == "none":
        return None
    parts = _DURATION_PART.findall(duration)
    if not parts or "".join(number + unit for number, unit in parts) != duration:
        raise errors.validation_failed(f"invalid format for ban duration: {duration}")
    return now + sum((timedelta(**{_UNITS[unit]: float(number)}) for number, unit in parts), timedelta())


def _user_id(request: Request) -> UUID:
    try:
        return UUID(request.path_params["user_id"])
    except ValueError:
        raise errors.validation_failed("user_id must be an UUID", 404) from None


def _positive(request: Request, name: str, default: int) -> int:
    value = request.query_params.get(name) or str(default)
    if not (value.isascii() and value.isdigit()):
        raise errors.validation_failed(f"Bad Pagination Parameters: {name} must be a number")
    return max(1, int(value))


def _page_headers(page: int, per_page: int, total: int) -> dict[str, str]:
    last = max(1, -(-total // per_page))
    link = f'</admin/users?page={last}&per_page={per_page}>; rel="last"'
    if page < last:
        link = f'</admin/users?page={page + 1}&per_page={per_page}>; rel="next", {link}'
    return {"x-total-count": str(total), "link": link}

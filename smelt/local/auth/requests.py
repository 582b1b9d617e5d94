"""The request bodies of the Auth API."""

from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from starlette.requests import Request

from smelt.local.auth import errors
from smelt.local.http import read_bounded

MAX_BODY_BYTES: Final = 1024 * 1024

Body = TypeVar("Body", bound="RequestBody")


def _null_is_empty(value: object) -> object:
    return "" if value is None else value


Text = Annotated[str, BeforeValidator(_null_is_empty)]
"""A string; null and missing values become empty."""


class RequestBody(BaseModel):
    """A request body; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class SignUp(RequestBody):
    """`POST /signup`; without email and phone, an anonymous sign-up."""

    email: Text = ""
    phone: Text = ""
    password: Text = ""
    data: dict[str, Any] | None = None


class PasswordGrant(RequestBody):
    """`POST /token?grant_type=password`."""

    email: Text = ""
    phone: Text = ""
    password: Text = ""


class RefreshGrant(RequestBody):
    """`POST /token?grant_type=refresh_token`."""

    refresh_token: Text = ""


class GenerateLink(RequestBody):
    """`POST /admin/generate_link`."""

    type: Text = ""
    email: Text = ""
    password: Text = ""
    data: dict[str, Any] | None = None
    redirect_to: Text = ""


class MailRequest(RequestBody):
    """`POST /otp`, `/magiclink`, `/recover`, `/resend` and `/invite`."""

    type: Text = ""
    email: Text = ""
    phone: Text = ""
    data: dict[str, Any] | None = None
    create_user: bool = True
    code_challenge: Text = ""


class Verification(RequestBody):
    """`POST /verify`."""

    type: Text = ""
    email: Text = ""
    phone: Text = ""
    token: Text = ""
    token_hash: Text = ""


class UserChange(RequestBody):
    """`PUT /user`."""

    email: Text = ""
    phone: Text = ""
    password: str | None = None
    data: dict[str, Any] | None = None
    app_metadata: dict[str, Any] | None = None


class UserDeletion(RequestBody):
    """`DELETE /admin/users/{id}`."""

    should_soft_delete: bool = False


class AdminUser(RequestBody):
    """`POST /admin/users` and `PUT /admin/users/{id}`; fields that are None stay unchanged."""

    id: UUID | None = None
    email: Text = ""
    phone: Text = ""
    password: str | None = None
    role: Text = ""
    email_confirm: bool = False
    phone_confirm: bool = False
    user_metadata: dict[str, Any] | None = None
    app_metadata: dict[str, Any] | None = None
    ban_duration: str | None = Field(default=None)


async def read_body(request: Request, kind: type[Body]) -> Body:
    """Parse the body of a request; raise `AuthError` if it is not valid JSON of this kind."""
    received = await read_bounded(request, MAX_BODY_BYTES, errors.body_too_large)
    try:
        return kind.model_validate_json(received)
    except ValidationError as exc:
        raise errors.invalid_body(exc.errors()[0]["msg"]) from None

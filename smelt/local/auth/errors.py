"""The error responses of the Auth server."""

import re
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from smelt.local.http import not_served_message
from smelt.pickling import PicklableError

VERSION_HEADER: Final = "x-supabase-api-version"
ERROR_CODES_VERSION: Final = "2024-01-01"
"""In this version of the API and later, `code` is the error code; before, it is the HTTP status."""

_VERSION: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class AuthError(PicklableError):
    """A request that gets an error response of the platform."""

    def __init__(self, status: int, error_code: str, message: str, **fields: object) -> None:
        super().__init__(message)
        self.status = status
        self.error_code = error_code
        self.message = message
        self.fields = fields

    def response(self, request: Request) -> Response:
        """Return the response in the API version that the request asks for."""
        if not _supports_error_codes(request.headers.get(VERSION_HEADER, "")):
            body = {"code": self.status, "error_code": self.error_code, "msg": self.message, **self.fields}
            return JSONResponse(body, self.status)
        body = {"code": self.error_code, "message": self.message, **self.fields}
        return JSONResponse(body, self.status, {VERSION_HEADER: ERROR_CODES_VERSION})


def _supports_error_codes(version: str) -> bool:
    # Dates in this format sort as text.
    return _VERSION.fullmatch(version) is not None and version >= ERROR_CODES_VERSION


def invalid_body(reason: str) -> AuthError:
    """The body is not valid JSON for the route."""
    return AuthError(400, "bad_json", f"Could not parse request body as JSON: {reason}")


def body_too_large() -> AuthError:
    """The body exceeds the limit."""
    return AuthError(413, "request_too_large", "Request body is too large")


def validation_failed(message: str, status: int = 400) -> AuthError:
    """A value of the request is invalid."""
    return AuthError(status, "validation_failed", message)


def invalid_credentials() -> AuthError:
    """The user does not exist or the password is wrong; the response does not reveal which."""
    return AuthError(400, "invalid_credentials", "Invalid login credentials")


def weak_password(message: str, *reasons: str) -> AuthError:
    """The password is too short, or lacks a kind of characters."""
    return AuthError(422, "weak_password", message, weak_password={"reasons": list(reasons)})


def user_not_found() -> AuthError:
    """No user has the id."""
    return AuthError(404, "user_not_found", "User not found")


def email_exists() -> AuthError:
    """The email belongs to another user."""
    return AuthError(422, "email_exists", "A user with this email address has already been registered")


def signup_disabled() -> AuthError:
    """The project allows no new users."""
    return AuthError(422, "signup_disabled", "Signups not allowed for this instance")


def database_error(action: str) -> AuthError:
    """A trigger or foreign key of the project rejected the change; the log has the reason."""
    return AuthError(500, "unexpected_failure", f"Database error {action}")


def bad_jwt(message: str) -> AuthError:
    """The bearer token is invalid."""
    return AuthError(403, "bad_jwt", message)


def not_served(feature: str) -> AuthError:
    """The embedded stack does not implement this part of the platform."""
    return AuthError(422, "feature_disabled", not_served_message(f"{feature} is"))

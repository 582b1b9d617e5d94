"""What the Auth server answers when it says no."""

import re
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from smelt.pickling import PicklableError

VERSION_HEADER: Final = "x-supabase-api-version"
ERROR_CODES_VERSION: Final = "2024-01-01"
"""Clients that ask for this version of the API get the error's code as `code`; older ones the HTTP status."""

_VERSION: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class AuthError(PicklableError):
    """A request that is answered with an error body of the platform."""

    def __init__(self, status: int, error_code: str, message: str, **more: object) -> None:
        super().__init__(message)
        self.status = status
        self.error_code = error_code
        self.message = message
        self.more = more

    def response(self, request: Request) -> Response:
        """Answer the refusal in the version of the API that the request asks for."""
        if not _wants_error_codes(request.headers.get(VERSION_HEADER, "")):
            body = {"code": self.status, "error_code": self.error_code, "msg": self.message, **self.more}
            return JSONResponse(body, self.status)
        body = {"code": self.error_code, "message": self.message, **self.more}
        return JSONResponse(body, self.status, {VERSION_HEADER: ERROR_CODES_VERSION})


def _wants_error_codes(version: str) -> bool:
    # Dates of this form sort as text.
    return _VERSION.fullmatch(version) is not None and version >= ERROR_CODES_VERSION


def invalid_body(reason: str) -> AuthError:
    """The body is not the JSON that the route takes."""
    return AuthError(400, "bad_json", f"Could not parse request body as JSON: {reason}")


def validation_failed(message: str, status: int = 400) -> AuthError:
    """A value of the request is not acceptable."""
    return AuthError(status, "validation_failed", message)


def invalid_credentials() -> AuthError:
    """No such user, or another password; who asks does not learn which."""
    return AuthError(400, "invalid_credentials", "Invalid login credentials")


def weak_password(message: str, reason: str) -> AuthError:
    """The password is too short."""
    return AuthError(422, "weak_password", message, weak_password={"reasons": [reason]})


def user_not_found() -> AuthError:
    """There is no user of that id."""
    return AuthError(404, "user_not_found", "User not found")


def email_exists() -> AuthError:
    """Another user has the address."""
    return AuthError(422, "email_exists", "A user with this email address has already been registered")


def signup_disabled() -> AuthError:
    """The project takes no new users."""
    return AuthError(422, "signup_disabled", "Signups not allowed for this instance")


def database_error(what: str) -> AuthError:
    """A trigger or a foreign key of the project's own; why, is in the log."""
    return AuthError(500, "unexpected_failure", f"Database error {what}")


def bad_jwt(message: str) -> AuthError:
    """The bearer token is not accepted."""
    return AuthError(403, "bad_jwt", message)


def not_served(what: str) -> AuthError:
    """A part of the platform that the embedded stack leaves out."""
    message = f"{what} is not part of the embedded stack; `supabase start` has it."
    return AuthError(501, "not_implemented", message)

"""The routes of the Auth server, and its responses to requests without a route."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from smelt.local.auth import errors
from smelt.local.auth.account import AccountRoutes
from smelt.local.auth.admin import AdminRoutes
from smelt.local.auth.errors import AuthError
from smelt.local.auth.mailed_links import MailedLinks
from smelt.local.auth.sessions import Sessions
from smelt.local.auth.sign_in import SignInRoutes
from smelt.local.auth.store import AuthStore
from smelt.local.auth.verification import VerificationRoutes
from smelt.local.keys import Keys
from smelt.local.project import AuthRules

logger = logging.getLogger(__name__)

# The responses of the platform for features that a project has switched off, by the first part of the path.
_DISABLED: Final[Mapping[str, AuthError]] = {
    "authorize": AuthError(400, "validation_failed", "Unsupported provider: provider is not enabled"),
    "callback": AuthError(400, "bad_oauth_callback", "OAuth state parameter missing"),
    "sso": AuthError(404, "saml_provider_disabled", "SAML 2.0 is disabled"),
    "saml": AuthError(404, "saml_provider_disabled", "SAML 2.0 is disabled"),
    "factors": AuthError(422, "mfa_totp_enroll_not_enabled", "MFA enroll is disabled for TOTP"),
    "user": AuthError(404, "manual_linking_disabled", "Manual linking is disabled"),
    "reauthenticate": errors.not_served("Reauthentication"),
    "passkeys": errors.not_served("Signing in with passkeys"),
    "oauth": errors.not_served("The OAuth server"),
    "admin": errors.not_served("This part of the admin API"),
}
_HEALTH: Final = {
    "version": "smelt",
    "name": "GoTrue",
    "description": "GoTrue is a user registration and authentication API",
}


def create_auth(store: AuthStore, keys: Keys, *, issuer: str, rules: AuthRules) -> ASGIApp:
    """Return the Auth API as an ASGI application, to be mounted at `/auth/v1`."""
    sessions, links = Sessions(keys, issuer, rules), MailedLinks(issuer, rules)
    signing_in = SignInRoutes(store, sessions, links, rules)
    verification = VerificationRoutes(store, sessions, links, keys, rules)
    account, admin = AccountRoutes(store, sessions, keys, rules), AdminRoutes(store, keys, rules)
    app = Starlette(
        routes=[
            Route("/signup", signing_in.sign_up, methods=["POST"]),
            Route("/token", signing_in.token, methods=["POST"]),
            Route("/user", account.show, methods=["GET"]),
            Route("/user", account.change, methods=["PUT"]),
            Route("/logout", account.sign_out, methods=["POST"]),
            Route("/admin/users", admin.create, methods=["POST"]),
            Route("/admin/users", admin.list, methods=["GET"]),
            Route("/admin/users/{user_id}", admin.show, methods=["GET"]),
            Route("/admin/users/{user_id}", admin.change, methods=["PUT"]),
            Route("/admin/users/{user_id}", admin.delete, methods=["DELETE"]),
            Route("/admin/generate_link", verification.generate_link, methods=["POST"]),
            Route("/invite", verification.invite, methods=["POST"]),
            Route("/recover", verification.recover, methods=["POST"]),
            Route("/otp", verification.one_time_password, methods=["POST"]),
            Route("/magiclink", verification.one_time_password, methods=["POST"]),
            Route("/resend", verification.resend, methods=["POST"]),
            Route("/verify", verification.verify, methods=["POST"]),
            Route("/verify", verification.follow, methods=["GET"]),
            Route("/health", _constant(_HEALTH)),
            Route("/settings", _constant(_settings(rules))),
            # Tokens are signed with a shared secret, so there are no public keys.
            Route("/.well-known/jwks.json", _constant({"keys": []})),
        ],
        exception_handlers={
            AuthError: _error_response,
            HTTPException: _route_error_response,
            ClientDisconnect: _disconnected_response,
            Exception: _internal_error_response,
        },
    )
    app.router.redirect_slashes = False
    return app


def _settings(rules: AuthRules) -> dict[str, object]:
    return {
        "external": {"anonymous_users": rules.allows_anonymous, "email": rules.allows_email, "phone": False},
        "disable_signup": not rules.allows_sign_up,
        "mailer_autoconfirm": not rules.confirms_email,
        "phone_autoconfirm": False,
        "sms_provider": "",
        "saml_enabled": False,
    }


def _constant(body: object) -> Callable[[Request], Awaitable[Response]]:
    async def show(request: Request) -> Response:
        return JSONResponse(body)

    return show


async def _error_response(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, AuthError)
    if exc.status == 500:
        logger.error("%s %s: %s", request.method, request.url.path, exc, exc_info=exc)
    return exc.response(request)


async def _route_error_response(request: Request, exc: Exception) -> Response:
    """Return the error for an unknown path or method."""
    assert isinstance(exc, HTTPException)
    first = request.url.path.removeprefix(request.scope["root_path"]).strip("/").partition("/")[0]
    if exc.status_code == 404 and first in _DISABLED:
        return _DISABLED[first].response(request)
    code = "not_found" if exc.status_code == 404 else "validation_failed"
    return AuthError(exc.status_code, code, f"{exc.detail}: {request.method} {request.url.path}").response(request)


async def _disconnected_response(request: Request, exc: Exception) -> Response:
    # The client has disconnected and does not receive this.
    return Response(status_code=499)


async def _internal_error_response(request: Request, exc: Exception) -> Response:
    return AuthError(500, "unexpected_failure", "Internal Server Error").response(request)

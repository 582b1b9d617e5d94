"""The routes of the Auth server, and its responses to requests without a route."""

import logging
from collections.abc import Awaitable, Callable
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
from smelt.local.auth.sessions import Sessions
from smelt.local.auth.sign_in import SignInRoutes
from smelt.local.auth.store import AuthStore
from smelt.local.keys import Keys
from smelt.local.migrations import AuthRules

logger = logging.getLogger(__name__)

_NOT_SERVED: Final = {
    "authorize": "Signing in with other providers",
    "callback": "Signing in with other providers",
    "sso": "Single sign-on",
    "saml": "Single sign-on",
    "otp": "Signing in by mail or message",
    "magiclink": "Signing in by mail or message",
    "verify": "Signing in by mail or message",
    "resend": "Sending mails and messages",
    "recover": "Recovering a password by mail",
    "reauthenticate": "Reauthentication",
    "invite": "Inviting users",
    "factors": "Multi-factor authentication",
    "passkeys": "Signing in with passkeys",
    "oauth": "The OAuth server",
    "admin": "This part of the admin API",
    "user": "Linking identities",
}
_HEALTH: Final = {
    "version": "smelt",
    "name": "GoTrue",
    "description": "GoTrue is a user registration and authentication API",
}


def create_auth(store: AuthStore, keys: Keys, *, issuer: str, rules: AuthRules) -> ASGIApp:
    """Return the Auth API as an ASGI application, to be mounted at `/auth/v1`."""
    sessions = Sessions(keys, issuer, rules.token_lifetime_s)
    signing_in = SignInRoutes(store, sessions, rules)
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
        "external": {"anonymous_users": rules.allows_anonymous, "email": True, "phone": False},
        "disable_signup": not rules.allows_sign_up,
        "mailer_autoconfirm": True,
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
    if exc.status_code == 404 and first in _NOT_SERVED:
        return errors.not_served(_NOT_SERVED[first]).response(request)
    code = "not_found" if exc.status_code == 404 else "validation_failed"
    return AuthError(exc.status_code, code, f"{exc.detail}: {request.method} {request.url.path}").response(request)


async def _disconnected_response(request: Request, exc: Exception) -> Response:
    # The client has disconnected and does not receive this.
    return Response(status_code=499)


async def _internal_error_response(request: Request, exc: Exception) -> Response:
    return AuthError(500, "unexpected_failure", "Internal Server Error").response(request)

"""Sign-in to a project's Auth with a password or anonymously; refresh and revocation of sessions."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

import httpx
from supabase_auth import AsyncGoTrueClient
from supabase_auth.errors import AuthApiError, AuthError, AuthRetryableError, AuthUnknownError
from supabase_auth.types import AuthResponse

from smelt.backend.session import SignInSession
from smelt.errors import RequestRejected, SmeltError, Unauthorized, Unavailable

AUTH_TIMEOUT_S: Final = 15.0


class SignIn:
    """The Auth of one project; methods raise `Unauthorized`, `RequestRejected` or `Unavailable`."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._key = key

    async def with_password(self, email: str, password: str) -> SignInSession:
        """Sign in as an existing user."""
        async with self._auth() as auth:
            return _session(await auth.sign_in_with_password({"email": email, "password": password}))

    async def as_new_user(self, email: str, password: str) -> SignInSession:
        """Create a user, and sign in."""
        async with self._auth() as auth:
            return _session(await auth.sign_up({"email": email, "password": password}))

    async def anonymously(self) -> SignInSession:
        """Create an anonymous user, and sign in."""
        async with self._auth() as auth:
            return _session(await auth.sign_in_anonymously())

    async def refreshed(self, session: SignInSession) -> SignInSession:
        """Exchange the refresh token, which can be used only once, for a new session."""
        async with self._auth() as auth:
            return _session(await auth.refresh_session(session.refresh_token))

    async def revoke(self, session: SignInSession) -> None:
        """Revoke a session; its access token remains valid until it expires."""
        async with self._auth() as auth:
            await auth.admin.sign_out(session.access_token, "local")

    @asynccontextmanager
    async def _auth(self) -> AsyncIterator[AsyncGoTrueClient]:
        async with httpx.AsyncClient(timeout=AUTH_TIMEOUT_S) as http:
            try:
                yield AsyncGoTrueClient(
                    url=f"{self._url}/auth/v1",
                    headers={"apikey": self._key},
                    auto_refresh_token=False,
                    persist_session=False,
                    http_client=http,
                )
            except AuthError as exc:
                raise _sign_in_error(exc, self._url) from exc


def _session(response: AuthResponse) -> SignInSession:
    session = response.session
    if session is None:
        raise RequestRejected("email_not_confirmed", "Confirm the address with the link in the e-mail, then log in.")
    return SignInSession(
        access_token=session.access_token,
        refresh_token=session.refresh_token,
        expires_at=session.expires_at or 0.0,
        user_id=UUID(session.user.id),
        email=session.user.email or None,
    )


def _sign_in_error(error: AuthError, url: str) -> SmeltError:
    match error:
        case AuthRetryableError() | AuthUnknownError():
            return Unavailable(f"the Auth of {url} does not respond ({error.message})")
        case AuthApiError(status=status) if status == 429 or status >= 500:
            return Unavailable(f"{error.message} (HTTP {status})")
        case AuthApiError(status=401 | 403) | AuthApiError(code="invalid_credentials"):
            return Unauthorized(error.message)
        case _:
            return RequestRejected(error.code or "auth", error.message)

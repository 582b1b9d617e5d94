"""The caller's bearer token: where it comes from, when it expires, and its renewal."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

from smelt.errors import SmeltError, Unauthorized, Unavailable

TokenCallable = Callable[[], Awaitable[str] | str]

# A server checks `exp` by its own clock, so a token is renewed a while before it expires.
RENEW_BEFORE_S: Final = 60.0
RENEW_OPAQUE_AFTER_S: Final = 300.0
MIN_RENEW_INTERVAL_S: Final = 5.0
RENEW_TIMEOUT_S: Final = 20.0


def is_jwt(key: str) -> bool:
    """Return True for a JWT, False for an opaque key (`sb_publishable_...` or `sb_secret_...`)."""
    return key.count(".") == 2 and not key.startswith("sb_")


def claims(token: str) -> dict[str, Any]:
    """Return the claims of a token, without verifying it; none if it is not a JWT."""
    import jwt  # Clients and workers with a key alone do without; it takes 0.02 s.

    try:
        return jwt.decode(token, options={"verify_signature": False})
    except (jwt.InvalidTokenError, RecursionError):
        return {}


def expires_at(token: str) -> float | None:
    """Return the `exp` of a token in seconds since 1970, without verifying it; None if there is none."""
    try:
        return float(claims(token)["exp"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def user_id(token: str) -> UUID | None:
    """Return the user that a token was issued for, its `sub`, without verifying it; None if there is none."""
    try:
        return UUID(claims(token)["sub"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def renew_in_s(token: str, now: float) -> float:
    """Return the seconds until a token should be renewed: a minute before it expires, earlier if it is short-lived."""
    expiry = expires_at(token)
    if expiry is None:
        return RENEW_OPAQUE_AFTER_S
    left_s = expiry - now
    return max(MIN_RENEW_INTERVAL_S, left_s - min(RENEW_BEFORE_S, left_s / 4))


class TokenSource:
    """Provides the bearer token that goes with a key, renewed before it expires if `access_token` is a function."""

    def __init__(
        self, key: str, access_token: str | TokenCallable | None = None, *, timeout_s: float = RENEW_TIMEOUT_S
    ) -> None:
        if access_token == "":
            raise ValueError("the access token is empty: pass None to call as a visitor")
        self._renew = access_token if callable(access_token) else None
        # Opaque keys are sent in the `apikey` header only; the platform replaces them by a token of its own.
        fallback = key if is_jwt(key) else None
        self._token = access_token if isinstance(access_token, str) else fallback
        self._renew_at = 0.0
        self._timeout_s = timeout_s
        self._lock = asyncio.Lock()

    @property
    def renewable(self) -> bool:
        """True if the token can be renewed."""
        return self._renew is not None

    async def current(self) -> str | None:
        """Return the token to send, None if only the key is sent; raise `Unavailable` if it cannot be renewed."""
        async with self._lock:
            if self._renew is not None and time.time() >= self._renew_at:
                await self._fetch(self._renew)
            return self._token

    async def renewed(self, stale: str | None) -> str | None:
        """Return a token other than `stale`; renew it unless another task has already done so."""
        async with self._lock:
            if self._renew is not None and self._token == stale:
                await self._fetch(self._renew)
            return self._token

    def renew_due_in_s(self) -> float | None:
        """Return the seconds until the token should be renewed, None if it cannot be renewed."""
        return None if self._renew is None else max(0.0, self._renew_at - time.time())

    async def _fetch(self, renew: TokenCallable) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):  # All other calls wait meanwhile.
                result = renew()
                token = await result if isinstance(result, Awaitable) else result
        except SmeltError:
            raise
        except PermissionError as exc:
            raise Unauthorized("renewing the access token is not permitted") from exc
        except Exception as exc:
            raise Unavailable(f"renewing the access token: {type(exc).__name__}") from exc
        if not token:
            raise Unauthorized("the access token function returned no token")
        self._token = token
        now = time.time()
        self._renew_at = now + renew_in_s(token, now)

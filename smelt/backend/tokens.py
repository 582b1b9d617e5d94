"""Who a project thinks is calling: the key, and a token on top of it that may have to be renewed."""

import asyncio
import base64
import binascii
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import UUID

from smelt.errors import SmeltError, Unauthorized, Unavailable

TokenCallable = Callable[[], Awaitable[str] | str]

# A server checks `exp` by its own clock, so a token is renewed before the last moment.
RENEW_BEFORE_S: Final = 60.0
RENEW_OPAQUE_AFTER_S: Final = 300.0
MIN_RENEW_INTERVAL_S: Final = 5.0
RENEW_TIMEOUT_S: Final = 20.0


def is_jwt(key: str) -> bool:
    """True for a signed token, false for an `sb_publishable_...` or `sb_secret_...` key."""
    return key.count(".") == 2 and not key.startswith("sb_")


def expires_at(token: str) -> float | None:
    """The `exp` of a token in seconds since 1970, unverified; None when it has none that can be read."""
    try:
        return float(_claim(token, "exp"))
    except (ValueError, KeyError, TypeError, binascii.Error):
        return None


def user_id(token: str) -> UUID | None:
    """The user that a token speaks for, its `sub`, unverified; None when it speaks for nobody."""
    try:
        return UUID(_claim(token, "sub"))
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        return None


def _claim(token: str, name: str) -> Any:
    _, body, _ = token.split(".")
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))[name]


def renew_in_s(token: str, now: float) -> float:
    """Seconds until a token should be renewed: a minute before it expires, earlier when it is short-lived."""
    expiry = expires_at(token)
    if expiry is None:
        return RENEW_OPAQUE_AFTER_S
    left_s = expiry - now
    return max(MIN_RENEW_INTERVAL_S, left_s - min(RENEW_BEFORE_S, left_s / 4))


class TokenSource:
    """Hands out the bearer token that goes with a key, fresh as long as its owner can renew it."""

    def __init__(
        self, key: str, access_token: str | TokenCallable | None = None, *, within_s: float = RENEW_TIMEOUT_S
    ) -> None:
        if access_token == "":
            raise ValueError("the access token is empty; without one the caller is a visitor")
        self._renew = access_token if callable(access_token) else None
        # Opaque keys stand in the `apikey` header alone; the platform turns them into tokens of its own.
        fallback = key if is_jwt(key) else None
        self._token = access_token if isinstance(access_token, str) else fallback
        self._renew_at = 0.0
        self._within_s = within_s
        self._lock = asyncio.Lock()

    @property
    def renewable(self) -> bool:
        """True when a fresh token can be had."""
        return self._renew is not None

    async def current(self) -> str | None:
        """The token to send now, None when the key alone has to do; raises `Unavailable` when renewing fails."""
        async with self._lock:
            if self._renew is not None and time.time() >= self._renew_at:
                await self._ask(self._renew)
            return self._token

    async def renewed(self, stale: str | None) -> str | None:
        """A token other than `stale`, asked for unless somebody else already did."""
        async with self._lock:
            if self._renew is not None and self._token == stale:
                await self._ask(self._renew)
            return self._token

    def renew_due_in_s(self) -> float | None:
        """Seconds until the token should be renewed, None when it never can be."""
        return None if self._renew is None else max(0.0, self._renew_at - time.time())

    async def _ask(self, renew: TokenCallable) -> None:
        try:
            async with asyncio.timeout(self._within_s):  # All calls wait for it meanwhile.
                answer = renew()
                token = await answer if isinstance(answer, Awaitable) else answer
        except SmeltError:
            raise
        except PermissionError as exc:
            raise Unauthorized("the access token may not be renewed") from exc
        except Exception as exc:
            raise Unavailable(f"asking for a fresh access token: {type(exc).__name__}") from exc
        if not token:
            raise Unauthorized("there is no fresh access token")
        self._token = token
        now = time.time()
        self._renew_at = now + renew_in_s(token, now)

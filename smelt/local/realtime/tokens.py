"""Validates the JWTs of sockets and channels; errors have the platform's wording."""

import json
from dataclasses import dataclass
from math import floor

import jwt

from smelt.local.keys import Keys
from smelt.pickling import PicklableError


@dataclass(frozen=True, slots=True)
class Token:
    """A valid token, with the values for policies: the role, the subject and all claims as JSON."""

    text: str
    role: str
    subject: str
    claims_json: str
    expires_at: float


class InvalidRealtimeToken(PicklableError):
    """An invalid token; the message depends on the occasion, as on the platform."""

    def __init__(
        self, code: str, message: str, *, on_connect: str | None = None, on_refresh: str | None = None
    ) -> None:
        super().__init__(message)
        self.on_join = f"{code}: {message}"
        self.on_connect = on_connect or message
        self.on_refresh = on_refresh or message


def check_token(keys: Keys, text: str, now: float) -> Token:
    """Validate a token; raise InvalidRealtimeToken if it is malformed, foreign, incomplete or expired."""
    try:
        claims = keys.verify(text, check_times=False)
    except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError) as error:
        sentence = "Failed to validate JWT signature"
        raise InvalidRealtimeToken("JwtSignatureError", sentence, on_refresh=":signature_error") from error
    except jwt.InvalidTokenError as error:
        raise InvalidRealtimeToken("MalformedJWT", "The token provided is not a valid JWT") from error
    role, expires_at = claims.get("role"), claims.get("exp")
    if not isinstance(role, str) or isinstance(expires_at, bool) or not isinstance(expires_at, int | float):
        raise InvalidRealtimeToken("InvalidJWTToken", "Fields `role` and `exp` are required in JWT")
    if expires_at <= now:
        raise expired(expires_at, now)
    return Token(text, role, str(claims.get("sub", "")), json.dumps(claims), expires_at)


def expired(expires_at: float, now: float) -> InvalidRealtimeToken:
    """Return the error for an expired token."""
    sentence = f"Token has expired {floor(now) - floor(expires_at)} seconds ago"
    return InvalidRealtimeToken("InvalidJWTToken", sentence, on_connect="Token has expired")


def lifetime_s(token: Token, now: float) -> float:
    """Return the remaining lifetime of a token; like the platform, it rounds the current time down to seconds."""
    return max(0.0, token.expires_at - floor(now))

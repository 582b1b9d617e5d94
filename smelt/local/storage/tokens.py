"""Authentication by JWT, and signed URLs; errors have the wording of the platform's JWT library (jose)."""

import json
import re
import time
from dataclasses import dataclass
from typing import Any, Final, Literal
from uuid import UUID

import jwt
from starlette.requests import Request

from smelt.local.keys import ALGORITHM, JwtClaims, Keys
from smelt.local.storage import errors
from smelt.pickling import PicklableError

UPLOAD_URL_LIFETIME_S: Final = 7200

_BEARER: Final = re.compile(r"bearer\s+", re.IGNORECASE)


class InvalidStorageToken(PicklableError):
    """An invalid token; the message is the reason."""


@dataclass(frozen=True, kw_only=True)
class StorageCaller:
    """The caller of a request, as policies see it."""

    role: str
    subject: str | None
    claims: str
    """The claims as JSON, for policies."""

    @property
    def owner(self) -> UUID | None:
        """The subject if it is a UUID, else None."""
        try:
            return UUID(self.subject or "")
        except ValueError:
            return None


SERVICE: Final = StorageCaller(role="service_role", subject=None, claims='{"role":"service_role"}')
"""The server itself, for actions after the caller has been authorized."""


def authenticate(request: Request, keys: Keys, *, required: bool = True) -> StorageCaller:
    """Return the caller of the request; raise `StorageError` if the token is not valid.

    `required` is True if the route's schema requires the `Authorization` header; it only changes the error message.
    """
    authorization = request.headers.get("authorization", "")
    if required and not authorization:
        raise errors.invalid_request("headers must have required property 'authorization'")
    token = _BEARER.sub("", authorization, count=1)
    try:
        claims = read_token(token, keys)
    except InvalidStorageToken as exc:
        raise errors.access_denied(str(exc)) from exc
    subject = claims.get("sub")
    return StorageCaller(
        role=str(claims.get("role") or "anon"),
        subject=None if subject is None else str(subject),
        claims=json.dumps(claims),
    )


def authenticate_or_none(request: Request, keys: Keys) -> StorageCaller | None:
    """Return the caller of the request, or None without a valid token; public objects need none."""
    try:
        return authenticate(request, keys)
    except errors.StorageError:
        return None


def read_token(token: str, keys: Keys) -> JwtClaims:
    """Return the claims of a token of this stack; raise InvalidStorageToken with the reason."""
    parts = token.split(".")
    if len(parts) != 3:
        raise InvalidStorageToken("Invalid Compact JWS")
    try:
        jwt.get_unverified_header(token)
    except jwt.InvalidTokenError as exc:
        raise InvalidStorageToken("JWS Protected Header is invalid") from exc
    try:
        return keys.verify(token)
    except jwt.InvalidAlgorithmError as exc:
        raise InvalidStorageToken('"alg" (Algorithm) Header Parameter value not allowed') from exc
    except jwt.ExpiredSignatureError as exc:
        raise InvalidStorageToken('"exp" claim timestamp check failed') from exc
    except jwt.ImmatureSignatureError as exc:
        raise InvalidStorageToken('"nbf" claim timestamp check failed') from exc
    except jwt.InvalidTokenError as exc:
        raise InvalidStorageToken("signature verification failed") from exc


def sign_download_url(keys: Keys, bucket_id: str, key: str, lifetime_s: int) -> str:
    """Return a token that allows reading this object."""
    now = int(time.time())
    return _sign(keys, {"url": f"{bucket_id}/{key}", "scope": "download", "iat": now, "exp": now + lifetime_s})


def sign_upload_url(keys: Keys, caller: StorageCaller, bucket_id: str, key: str, *, upsert: bool) -> str:
    """Return a token that allows writing this object on behalf of the caller."""
    now = int(time.time())
    claims: JwtClaims = {} if caller.subject is None else {"owner": caller.subject}
    claims |= {"url": f"{bucket_id}/{key}", "upsert": upsert, "scope": "upload"}
    return _sign(keys, claims | {"iat": now, "exp": now + UPLOAD_URL_LIFETIME_S})


def read_url_token(token: str | None, keys: Keys, scope: Literal["download", "upload"], path: str) -> JwtClaims:
    """Return the claims of a signed URL's token; raise `StorageError` unless it is for this path and scope.

    Old tokens have no scope; only those for uploads have the claim `upsert`.
    """
    if token is None:
        raise errors.invalid_request("querystring must have required property 'token'")
    try:
        claims = read_token(token, keys)
    except InvalidStorageToken as exc:
        raise errors.invalid_url_token(str(exc)) from exc
    if claims.get("scope", "upload" if "upsert" in claims else "download") != scope:
        raise errors.invalid_signature(f"Token is not scoped for {scope}")
    if claims.get("url") != path:
        raise errors.invalid_signature()
    return claims


def _sign(keys: Keys, claims: JwtClaims) -> str:
    # Without `typ`, as on the platform.
    return jwt.encode(claims, keys.jwt_secret, algorithm=ALGORITHM, headers={"typ": None}, json_encoder=_Unescaped)


class _Unescaped(json.JSONEncoder):
    """Does not escape non-ASCII characters, like JavaScript."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options | {"ensure_ascii": False})

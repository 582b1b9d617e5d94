"""Authentication of requests: the bearer token, its session and its user."""

from uuid import UUID

import jwt
from starlette.requests import Request

from smelt.local.auth import errors
from smelt.local.auth.errors import AuthError
from smelt.local.auth.store import AuthTransaction
from smelt.local.auth.users import Session, User
from smelt.local.keys import JwtClaims, Keys

ADMIN_ROLES = ("service_role", "supabase_admin")


def read_bearer(request: Request, keys: Keys) -> JwtClaims:
    """Return the claims of the request's token; raise `AuthError` if it is missing or invalid."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise AuthError(401, "no_authorization", "This endpoint requires a valid Bearer token")
    try:
        return keys.verify(token.strip())
    except jwt.ExpiredSignatureError as exc:
        reason = "token has invalid claims: token is expired"
        raise errors.bad_jwt(f"invalid JWT: unable to parse or verify signature, {reason}") from exc
    except jwt.InvalidSignatureError as exc:
        reason = "token signature is invalid: signature is invalid"
        raise errors.bad_jwt(f"invalid JWT: unable to parse or verify signature, {reason}") from exc
    except jwt.InvalidTokenError as exc:
        reason = f"token is malformed: {exc}"
        raise errors.bad_jwt(f"invalid JWT: unable to parse or verify signature, {reason}") from exc


def require_admin(request: Request, keys: Keys) -> None:
    """Raise `AuthError` unless the request carries the service key."""
    if read_bearer(request, keys).get("role") not in ADMIN_ROLES:
        raise AuthError(403, "not_admin", "User not allowed")


async def find_caller(transaction: AuthTransaction, claims: JwtClaims) -> tuple[User, Session]:
    """Return the user and the session of a token; raise `AuthError` if one of them no longer exists."""
    if not claims.get("sub"):
        raise errors.bad_jwt("invalid claim: missing sub claim")
    user_id = _uuid(claims.get("sub"))
    if user_id is None:
        raise errors.bad_jwt("invalid claim: sub claim must be a UUID")
    user = await transaction.user(user_id)
    if user is None:
        raise AuthError(403, "user_not_found", "User from sub claim in JWT does not exist")
    session_id = _uuid(claims.get("session_id"))
    session = None if session_id is None else await transaction.session(session_id)
    if session is None or session.user_id != user.id:
        raise AuthError(403, "session_not_found", "Session from session_id claim in JWT does not exist")
    return user, session


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(str(value))
    except ValueError:
        return None

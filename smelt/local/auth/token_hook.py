"""Calls the project's function that changes the claims of access tokens (`[auth.hook.custom_access_token]`)."""

import logging
from typing import Final

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from smelt.local.auth.errors import AuthError
from smelt.local.auth.store import AuthTransaction
from smelt.local.keys import JwtClaims

logger = logging.getLogger(__name__)

TIMEOUT_MS: Final = 2000
"""As on the platform."""

_REQUIRED: Final = ("aud", "exp", "iat", "sub", "role", "aal", "session_id", "email", "phone", "is_anonymous")
_CALL: Final = sql.SQL("select {schema}.{name}(%s::jsonb)")
_TIMEOUT: Final = sql.SQL("set local statement_timeout = {milliseconds}")


async def customize(
    transaction: AuthTransaction, function: tuple[str, str], claims: JwtClaims, method: str
) -> JwtClaims:
    """Return the claims that a function (schema, name) returns for these; raise `AuthError` if it fails or refuses."""
    schema, name = function
    event = {"user_id": claims["sub"], "claims": claims, "authentication_method": method}
    call = _CALL.format(schema=sql.Identifier(schema), name=sql.Identifier(name))
    try:
        await transaction.run(_TIMEOUT.format(milliseconds=TIMEOUT_MS))
        output = await transaction.value(call, Jsonb(event))
    except psycopg.Error as exc:
        logger.warning("the hook %s.%s failed: %s", schema, name, exc)
        raise _failed(f"Error running hook URI: pg-functions://postgres/{schema}/{name}") from exc
    match output:
        case {"error": {"http_code": int(status), "message": str(message)}}:
            raise AuthError(status, "unknown", message) if 400 <= status < 500 else _failed(message)
        case {"error": {"message": str(message)}}:
            raise _failed(message)
        case {"claims": dict(customized)} if all(required in customized for required in _REQUIRED):
            return customized
    raise _failed("output claims do not conform to the expected schema")


def _failed(message: str) -> AuthError:
    return AuthError(500, "unexpected_failure", message)

"""Callers: the credential of a request, and the project that it is passed to.

The gateway has no users of its own. It passes the credential of a request on to the project, whose row level security
decides. Only a read-only token and a callback token are served with the secret key, and only for the smelt that they
name.
"""

import time
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import APIKeyQuery, HTTPBearer

from smelt.backend.client_rpc import ClientRpc
from smelt.backend.pool import Pool
from smelt.backend.project import Project
from smelt.backend.tokens import claims, expires_at, is_jwt, user_id
from smelt.contract.dispatch import CallbackTokens
from smelt.gateway.errors import Problem
from smelt.gateway.options import GatewayOptions
from smelt.gateway.tokens import ReadTokens

VISITOR: Final = "visitor"
SERVICE: Final = "service"
CALL_TIMEOUT_S: Final = 10.0
SIGN_IN_FIRST: Final = (
    "Sign in first: send `Authorization: Bearer TOKEN` with the access_token of a user. An anonymous sign-in at the "
    "project's Auth (`POST /auth/v1/signup` with an empty object) returns one."
)


@dataclass(frozen=True)
class Caller:
    """The caller of one request.

    Attributes:
        identity: The id of the user, `visitor`, `service`, or `smelt:<id>` for the holder of a read-only token. It is
            taken from the token without verifying it: only a call shows whether the project accepts the token.
        token: The credential that the request carries; None if it carries none.
        expires_at: When it expires, in seconds since 1970; None if it does not.
        smelt_id: The one smelt that the caller may read; None without such a limit.
        counted_as: The identity for limits; that of a visitor includes the address.
        project: The project with exactly this credential.
    """

    identity: str
    token: str | None
    expires_at: float | None
    smelt_id: UUID | None
    counted_as: str
    project: Project

    @cached_property
    def calls(self) -> ClientRpc:
        """Calls with exactly this credential."""
        return ClientRpc(self.project.rpc)

    @property
    def has_expired(self) -> bool:
        """True once the token has expired by the clock of this machine, which may differ from that of the project."""
        return self.expires_at is not None and self.expires_at <= time.time()

    async def check(self) -> None:
        """Raise `Unauthorized` unless the project accepts the credential."""
        await self.calls.get_smelts([])


class Callers:
    """Makes the callers of requests, over one pool of connections."""

    def __init__(self, options: GatewayOptions, pool: Pool) -> None:
        self._options = options
        self._pool = pool
        is_configured = bool(options.secret_key and options.signing_keys)
        self.read_tokens = ReadTokens(options.signing_keys) if is_configured else None
        self.callback_tokens = CallbackTokens(options.signing_keys) if is_configured else None

    def caller(self, credential: str | None, address: str) -> Caller:
        """Return the caller with a credential: a user's token, a key of the project, or None."""
        if credential is None or credential.startswith("sb_publishable_"):
            project = self.project(credential or self._options.key)
            return Caller(VISITOR, credential, None, None, f"{VISITOR} {address}", project)
        if credential.startswith("sb_secret_"):
            return Caller(SERVICE, credential, None, None, SERVICE, self.project(credential))
        identity = _identity(credential)
        project = self.project(self._options.key, credential)
        counted_as = f"{VISITOR} {address}" if identity == VISITOR else identity
        return Caller(identity, credential, expires_at(credential), None, counted_as, project)

    def reader(self, token: str, smelt_id: UUID, *, now: float) -> Caller:
        """Return the holder of a read-only token, who asks for a smelt."""
        if self.read_tokens is None:
            raise not_configured()
        content = self.read_tokens.verify(token)
        if content is None:
            raise Problem(401, "unauthorized", "The read-only token is not valid.")
        if content.expires_at <= now:
            raise Problem(401, "token_expired", "The read-only token has expired; request a new one.")
        if content.smelt_id != smelt_id:
            raise Problem(403, "forbidden", "The read-only token is for another smelt.")
        identity = f"smelt:{smelt_id}"
        return Caller(identity, token, content.expires_at, smelt_id, identity, self.service())

    def service(self) -> Project:
        """Return the project with the secret key."""
        if self._options.secret_key is None:
            raise not_configured()
        return self.project(self._options.secret_key)

    def project(self, key: str, token: str | None = None) -> Project:
        """Return the project with a credential, over the shared connections."""
        return Project(self._options.url, key, access_token=token, timeout_s=CALL_TIMEOUT_S, pool=self._pool)


def not_configured() -> Problem:
    """Return the error for a route that needs the secret key and signing keys."""
    sentence = "Read-only tokens and callbacks need SUPABASE_SECRET_KEY and SMELT_SIGNING_KEYS."
    return Problem(404, "not_configured", sentence)


def current_callers(request: Request) -> Callers:
    """Return the callers of the running application."""
    callers: Callers = request.app.state.callers
    return callers


_bearer: Final = HTTPBearer(
    auto_error=False, description="The access token of a user, or a key of the project; nothing for a visitor."
)
_read_token: Final = APIKeyQuery(
    name="token", scheme_name="ReadToken", auto_error=False, description="A read-only token of this smelt."
)


def current_caller(
    request: Request,
    callers: Annotated[Callers, Depends(current_callers)],
    _documented: Annotated[Any, Depends(_bearer)] = None,
) -> Caller:
    """Return the caller of a request; a read-only token counts only for a GET of its smelt."""
    caller = _caller(request, callers)
    request.state.caller = caller  # For errors.
    return caller


def _caller(request: Request, callers: Callers) -> Caller:
    read_token = request.query_params.get("token")
    if read_token is not None:
        smelt_id = _requested_smelt(request)
        if smelt_id is None:
            raise Problem(403, "forbidden", "A read-only token reads one smelt, and does nothing else.")
        return callers.reader(read_token, smelt_id, now=time.time())
    return callers.caller(_credential(request), request.client.host if request.client else "")


CurrentCaller = Annotated[Caller, Depends(current_caller)]


def signed_in_caller(caller: CurrentCaller) -> Caller:
    """Return the caller of a route that is not for visitors.

    To the project, all visitors would be the one with the gateway's address, which limits them; and they own nothing
    that could be listed.
    """
    if caller.identity == VISITOR:
        raise Problem(401, "sign_in_required", SIGN_IN_FIRST)
    return caller


SignedInCaller = Annotated[Caller, Depends(signed_in_caller)]


def smelt_reader(caller: CurrentCaller, _documented: Annotated[Any, Depends(_read_token)] = None) -> Caller:
    """Return the caller of a route that reads one smelt, which takes a read-only token as well."""
    return caller


SmeltReader = Annotated[Caller, Depends(smelt_reader)]


def _credential(request: Request) -> str | None:
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, credential = header.partition(" ")
    credential = credential.strip()
    if scheme.lower() != "bearer" or not credential or not credential.isascii():
        raise Problem(401, "unauthorized", "The Authorization header must be `Bearer` and a token.")
    return credential


def _requested_smelt(request: Request) -> UUID | None:
    """Return the smelt that a request only reads, by its path."""
    if request.method not in ("GET", "HEAD"):
        return None
    try:
        return UUID(request.path_params["smelt_id"])
    except (KeyError, ValueError):
        return None


def _identity(token: str) -> str:
    """Return whom a token was issued for, without verifying it."""
    signed_in = user_id(token) if is_jwt(token) else None
    if signed_in is not None:
        return str(signed_in)
    match claims(token).get("role"):
        case "anon":
            return VISITOR
        case "service_role":
            return SERVICE
        case _:
            raise Problem(401, "unauthorized", "The token is neither that of a user nor a key of the project.")

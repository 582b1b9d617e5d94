"""Checks API keys, and sets the `Authorization` header for the services.

Services accept only JWTs. `sb_publishable_...` and `sb_secret_...` keys are replaced by the tokens of their roles, and
a request without `Authorization` gets the token of its key.
"""

from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from smelt.local.keys import Keys

_MISSING_KEY: Final = {
    "message": "No API key found in request",
    "hint": "No `apikey` request header or url param was found.",
}
_INVALID_KEY: Final = {
    "message": "Invalid API key",
    "hint": "Double check your Supabase `anon` or `service_role` API key.",
}


class ApiKeys:
    """ASGI middleware for a service; with `required` it rejects requests without a key of this stack."""

    def __init__(self, app: ASGIApp, keys: Keys, *, required: bool, keyless_paths: tuple[str, ...] = ()) -> None:
        self._app = app
        self._keys = keys
        self._required = required
        self._keyless_paths = keyless_paths
        self._known = {keys.publishable_key, keys.secret_key, keys.anon_key, keys.service_role_key}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        key = headers.get("apikey") or _key_in_query(scope["query_string"])
        if self._required and key not in self._known and not scope["path"].endswith(self._keyless_paths):
            rejection = JSONResponse(_INVALID_KEY if key else _MISSING_KEY, 401)
            await rejection(scope, receive, send)
            return
        known_key = key if key in self._known else None
        authorization = authorization_for(headers.get("authorization"), known_key, self._keys)
        if authorization is not None:
            others = [(name, value) for name, value in scope["headers"] if name != b"authorization"]
            scope = {**scope, "headers": [*others, (b"authorization", authorization.encode("latin-1"))]}
        await self._app(scope, receive, send)


def authorization_for(authorization: str | None, key: str | None, keys: Keys) -> str | None:
    """Return the `Authorization` header that replaces the client's; None keeps the client's.

    Clients also send their key as bearer token. An `sb_...` key is not a JWT, so the token of the `apikey` replaces it.
    """
    if authorization and not authorization.startswith("Bearer sb_"):
        return None
    if key:
        return f"Bearer {keys.to_token(key)}"
    if authorization:
        return f"Bearer {keys.to_token(authorization.removeprefix('Bearer '))}"
    return None


def _key_in_query(query: bytes) -> str | None:
    values = parse_qs(query.decode("latin-1")).get("apikey")
    return values[0] if values else None

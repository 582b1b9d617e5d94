"""Signs every request to a project, and renews the token once when it is turned down."""

from collections.abc import AsyncGenerator

import httpx

from smelt.backend.tokens import TokenSource
from smelt.errors import Unauthorized


class ProjectAuth(httpx.Auth):
    """Adds `apikey` and `Authorization`; a 401 that a fresh token does not cure raises `Unauthorized`."""

    def __init__(self, key: str, tokens: TokenSource) -> None:
        self._key = key
        self._tokens = tokens

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Sign, send, and on 401 sign and send once more."""
        token = await self._tokens.current()
        response = yield self._signed(request, token)
        if response.status_code == httpx.codes.UNAUTHORIZED and self._tokens.renewable:
            response = yield self._signed(request, await self._tokens.renewed(token))
        if response.status_code == httpx.codes.UNAUTHORIZED:
            await response.aread()
            raise Unauthorized(_reason(response))

    def _signed(self, request: httpx.Request, token: str | None) -> httpx.Request:
        request.headers["apikey"] = self._key
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token}"
        return request


def _reason(response: httpx.Response) -> str:
    turned_down = "the key or token is not accepted"
    try:
        body = response.json()
        # The database returns 401, not 403, to a visitor who lacks a permission.
        if body.get("code") == "42501":
            return f"sign in first: this call needs the access_token of a user ({body['message']})"
        return f"{turned_down}: {body['message']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return turned_down

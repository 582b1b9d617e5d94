"""Authentication of HTTP requests to a project; a rejected token is renewed once."""

from collections.abc import AsyncGenerator

import httpx

from smelt.backend.tokens import TokenSource
from smelt.errors import Unauthorized


class ProjectAuth(httpx.Auth):
    """Adds `apikey` and `Authorization`; raises `Unauthorized` if the response to a renewed token is also a 401."""

    def __init__(self, key: str, tokens: TokenSource) -> None:
        self._key = key
        self._tokens = tokens

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send the request with the current token, and on a 401 once more with a renewed one."""
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
    rejected = "the key or token is not accepted"
    try:
        body = response.json()
        # PostgREST also responds with a 401, not a 403, to a visitor without the permission; the key is valid then.
        if body.get("code") == "42501":
            return f"sign in first: this call needs the access_token of a user ({body['message']})"
        return f"{rejected}: {body['message']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return rejected

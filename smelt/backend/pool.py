"""The pool of HTTP connections of a project."""

import asyncio
import ssl
from functools import cache
from typing import Any, Final

import httpx

from smelt.backend.clock import SLEPT_S, WallClock
from smelt.errors import PermanentError

MAX_CONNECTIONS: Final = 20


class Pool(httpx.AsyncClient):
    """An HTTP client that opens new connections after the machine was suspended.

    After a suspend, pooled connections may be half-open; a request on one would hang until its timeout.
    """

    def __init__(self, auth: httpx.Auth, timeout_s: float) -> None:
        super().__init__(auth=auth, timeout=timeout_s, verify=_tls())
        # httpx cannot drop pooled connections without closing the client: requests go through an inner client that
        # can be replaced.
        self._inner_client = _inner_client()
        self._clock = WallClock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def check(self) -> None:
        """Raise `PermanentError` if the pool is closed, or was used in another event loop."""
        if self.is_closed:
            raise PermanentError("the client is closed")
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if self._loop is not loop:
            raise PermanentError("the client was used in another event loop: call connect() once per event loop")

    async def send(
        self,
        request: httpx.Request,
        *,
        stream: bool = False,
        auth: httpx.Auth | Any = httpx.USE_CLIENT_DEFAULT,
        follow_redirects: bool | Any = httpx.USE_CLIENT_DEFAULT,
    ) -> httpx.Response:
        """Send a request; after a suspend of the machine over a new connection."""
        self.check()
        if self._clock.ran_ahead_s() >= SLEPT_S:
            outdated, self._inner_client = self._inner_client, _inner_client()
            await outdated.aclose()
        auth = self.auth if auth is httpx.USE_CLIENT_DEFAULT else auth
        return await self._inner_client.send(request, stream=stream, auth=auth, follow_redirects=follow_redirects)

    async def aclose(self) -> None:
        """Close all connections."""
        try:
            await super().aclose()
        finally:
            await self._inner_client.aclose()


def _inner_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(verify=_tls(), limits=httpx.Limits(max_connections=MAX_CONNECTIONS))


@cache
def _tls() -> ssl.SSLContext:
    # Loading all certificates blocks the event loop for tens of milliseconds: done once.
    return httpx.create_ssl_context()
